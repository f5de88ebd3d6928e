#include "../core/shape.hpp"
#include "retort/retort.hpp"
