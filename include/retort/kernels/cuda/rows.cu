// Kernels of rows: softmax, norms, gathers, rotary positions, random numbers.
#include "retort/kernels/cuda/gather.cuh"
#include "retort/kernels/cuda/norm.cuh"
#include "retort/kernels/cuda/random.cuh"
#include "retort/kernels/cuda/rotary.cuh"
#include "retort/kernels/cuda/softmax.cuh"

namespace retort::kernels {

void require_indices(CudaDevice, const char* op, const char* what, Index count, const std::int32_t* index,
                     Index limit) {
  if (count > 0)
    cuda::launch(cuda::require_indices_kernel<>, cuda::blocks_for(count, 1024), 256, 0, count,
                 const_cast<std::int32_t*>(index), limit, retort::cuda::index_fault(), op, what);
}

#define RETORT_CUDA_ROWS(T)                                                                                  \
  template void softmax<T>(CudaDevice, Index, Index, const T*, T*);                                          \
  template void softmax_backward<T>(CudaDevice, Write, Index, Index, const T*, const T*, T*);                \
  template void log_softmax<T>(CudaDevice, Index, Index, const T*, T*);                                      \
  template void log_softmax_backward<T>(CudaDevice, Write, Index, Index, const T*, const T*, T*);            \
  template void layer_norm<T>(CudaDevice, Index, Index, const T*, const T*, const T*, float, T*, float*,     \
                              float*);                                                                       \
  template void rms_norm<T>(CudaDevice, Index, Index, const T*, const T*, float, T*, float*);                \
  template void norm_backward_input<T>(CudaDevice, Write, Index, Index, const T*, const T*, const float*,    \
                                       const float*, const T*, T*);                                          \
  template void norm_backward_gain<T>(CudaDevice, Write, Index, Index, const T*, const float*, const float*, \
                                      const T*, T*);                                                         \
  template void sum_rows<T>(CudaDevice, Write, Index, Index, const T*, T*, Index);                           \
  template void add_bias<T>(CudaDevice, Index, Index, const T*, T*);                                         \
  template void take_rows<T>(CudaDevice, Index, Index, const T*, const std::int32_t*, float, T*);            \
  template void scatter_add_rows<T>(CudaDevice, Index, Index, const T*, const std::int32_t*, float, T*);     \
  template void copy_rows<T>(CudaDevice, Index, Index, const T*, Index, T*, Index);                          \
  template void append_rows<T>(CudaDevice, const Segments&, const Segments&, Index, const T*, Index, T*,     \
                               Index);                                                                       \
  template void take_transposed<T>(CudaDevice, Index, Index, const T*, const std::int32_t*, T*);             \
  template void scatter_add_transposed<T>(CudaDevice, Index, Index, Index, const T*, const std::int32_t*,    \
                                          T*);                                                               \
  template void rotary<T>(CudaDevice, Write, const RotaryShape&, bool, const float*, const float*, const T*, \
                          T*);                                                                               \
  template void fill_normal<T>(CudaDevice, RandomKey, Index, float, float, T*);                              \
  template void fill_uniform<T>(CudaDevice, RandomKey, Index, float, float, T*);                             \
  template void dropout<T>(CudaDevice, Write, RandomKey, Index, double, const T*, T*);

RETORT_CUDA_ROWS(float)
RETORT_CUDA_ROWS(bf16)

}  // namespace retort::kernels
