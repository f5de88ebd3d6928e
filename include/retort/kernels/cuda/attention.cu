// Attention, forward and backward.
#include "retort/kernels/cuda/attention.cuh"

namespace retort::kernels {

#define RETORT_CUDA_ATTENTION(T)                                                                            \
  template void attention<T>(CudaDevice, const AttentionShape&, const Segments&, const Segments&, const T*, \
                             const T*, const T*, const T*, T*, float*);                                     \
  template void attention_backward<T>(CudaDevice, const AttentionShape&, const Segments&, const Segments&,  \
                                      const T*, const T*, const T*, const T*, const T*, const float*,       \
                                      const T*, const AttentionGradients<T>&);

RETORT_CUDA_ATTENTION(float)
RETORT_CUDA_ATTENTION(bf16)

}  // namespace retort::kernels
