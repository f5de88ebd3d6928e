// The heavy kernels, instantiated once: compile this file and distill/instances.cpp into a program and define
// RETORT_EXTERN_KERNELS in all of it, and no other file compiles them. Optional; without it every file
// compiles what it uses.
#include "retort/kernels/cpu.hpp"

namespace retort::kernels {

RETORT_ADAFACTOR_INSTANCES(, float)
RETORT_ADAFACTOR_INSTANCES(, double)
RETORT_ATTENTION_INSTANCES(, float)
RETORT_ATTENTION_INSTANCES(, double)
RETORT_CROSS_ENTROPY_INSTANCES(, float)
RETORT_CROSS_ENTROPY_INSTANCES(, double)
RETORT_GATHER_INSTANCES(, float)
RETORT_GATHER_INSTANCES(, double)
RETORT_GEMM_INSTANCES(, float)
RETORT_GEMM_INSTANCES(, double)
RETORT_NORM_INSTANCES(, float)
RETORT_NORM_INSTANCES(, double)
RETORT_RANDOM_INSTANCES(, float)
RETORT_RANDOM_INSTANCES(, double)
RETORT_ROTARY_INSTANCES(, float)
RETORT_ROTARY_INSTANCES(, double)
RETORT_SOFTMAX_INSTANCES(, float)
RETORT_SOFTMAX_INSTANCES(, double)
RETORT_TOP_K_INSTANCES(, float)
RETORT_TOP_K_INSTANCES(, double)
RETORT_UPDATE_INSTANCES(, float)
RETORT_UPDATE_INSTANCES(, double)

}  // namespace retort::kernels
