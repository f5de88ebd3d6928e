#include "retort/core/scalar.hpp"
#include "retort/kernels/contract.hpp"
