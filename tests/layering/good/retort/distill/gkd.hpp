#include "retort/kernels/contract.hpp"
// #include "retort/io/json.hpp"
