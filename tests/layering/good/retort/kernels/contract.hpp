#include "retort/core/shape.hpp"
