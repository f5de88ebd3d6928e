// Pointwise kernels of the library's own functors and activations, fills, conversions and sums.
#include <cstring>

#include "retort/core/activations.hpp"
#include "retort/kernels/cuda/policies.cuh"
#include "retort/tensor/memory.hpp"

RETORT_CUDA_MAP1(retort::functors::Identity)
RETORT_CUDA_MAP1(retort::functors::Negate)
RETORT_CUDA_MAP1(retort::functors::Constant)
RETORT_CUDA_MAP1(retort::functors::Times)
RETORT_CUDA_MAP2(retort::functors::Add)
RETORT_CUDA_MAP2(retort::functors::Subtract)
RETORT_CUDA_MAP2(retort::functors::Multiply)
RETORT_CUDA_MAP2(retort::functors::Descend)
RETORT_CUDA_ACTIVATION(retort::Relu)
RETORT_CUDA_ACTIVATION(retort::GeluTanh)
RETORT_CUDA_ACTIVATION(retort::GeluErf)
RETORT_CUDA_ACTIVATION(retort::Silu)

namespace retort::kernels {

template double sum_of<float, functors::Identity>(CudaDevice, const float*, Index, functors::Identity);
template double sum_of<bf16, functors::Identity>(CudaDevice, const bf16*, Index, functors::Identity);
template std::vector<double> squared_norms<float>(CudaDevice,
                                                  const std::vector<std::pair<const float*, Index>>&);
template std::vector<double> squared_norms<bf16>(CudaDevice,
                                                 const std::vector<std::pair<const bf16*, Index>>&);
template bool all_finite<float>(CudaDevice, const float*, Index);
template bool all_finite<bf16>(CudaDevice, const bf16*, Index);
template void convert<float, bf16>(CudaDevice, Index, const float*, bf16*);
template void convert<bf16, float>(CudaDevice, Index, const bf16*, float*);
template void convert<float, float>(CudaDevice, Index, const float*, float*);

}  // namespace retort::kernels

namespace retort::memory {

void fill_bytes(CudaDevice, void* data, const void* value, std::size_t value_bytes, std::int64_t count) {
  if (count == 0) return;
  using namespace kernels::cuda;
  const auto fill_with = [&]<class Word>(Word word) {
    std::memcpy(&word, value, sizeof(Word));
    launch(fill_kernel<Word>, blocks_for(count, 1024), map_threads, 0, count, word, static_cast<Word*>(data));
  };
  if (value_bytes == 2) fill_with(std::uint16_t{});
  if (value_bytes == 4) fill_with(std::uint32_t{});
  if (value_bytes == 8) fill_with(std::uint64_t{});
}

}  // namespace retort::memory
