// The CPU's row losses of the shipped divergences, instantiated once: compile this file into a program beside
// kernels/cpu/instances.cpp and define RETORT_EXTERN_KERNELS in all of it.
#include "retort/distill/divergence_instances.hpp"

namespace retort::kernels {

RETORT_DIVERGENCE_INSTANCES(, float)
RETORT_DIVERGENCE_INSTANCES(, double)

}  // namespace retort::kernels
