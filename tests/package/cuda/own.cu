#include "own.hpp"

#include <retort/kernels/cuda/policies.cuh>

RETORT_CUDA_MAP1(Cube)
