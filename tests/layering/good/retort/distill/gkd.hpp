#include "retort/kernels/row_functors.hpp"
// #include "retort/io/json.hpp"
