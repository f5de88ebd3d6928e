#include "retort/misc/helpers.hpp"
