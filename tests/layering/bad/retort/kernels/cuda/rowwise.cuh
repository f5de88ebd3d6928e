#include <fmt/core.h>
#include "retort/kernels/gemm.hpp"
