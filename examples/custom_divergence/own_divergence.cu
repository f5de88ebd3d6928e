// All that a divergence of one's own needs to run on a GPU: its kernels, compiled from the same two
// functions.

#include <retort/kernels/cuda/policies.cuh>

#include "hellinger.hpp"

RETORT_CUDA_DIVERGENCE(Hellinger)
