// Drawing tokens, and the most probable ones.
#include "retort/kernels/cuda/sampling.cuh"

namespace retort::kernels {

#define RETORT_CUDA_SAMPLING(T)                                                                          \
  template void mix_rows<T>(CudaDevice, double, Index, Index, const T*, Index, const T*, Index, float*); \
  template void draw_tokens<T>(CudaDevice, const SamplerSteps&, Index, Index, T*, const double*,         \
                               DrawnToken*, Index);                                                      \
  template void top_k_log_probabilities<T>(CudaDevice, const TopKShape&, T*, std::int32_t*, float*, float*);

RETORT_CUDA_SAMPLING(float)
RETORT_CUDA_SAMPLING(bf16)

}  // namespace retort::kernels
