#include "retort/core/shape.hpp"
#include "retort/kernels/row_functors.hpp"
