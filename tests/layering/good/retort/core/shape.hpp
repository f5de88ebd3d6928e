#include <fmt/core.h>
#include <string>
#include "retort/version.hpp"
