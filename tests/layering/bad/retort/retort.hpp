#include "retort/core/upward.hpp"
