// Losses of rows of logits: the shipped divergences, the cross-entropy, log-probabilities and their sums.
#include "retort/distill/divergences.hpp"
#include "retort/kernels/cuda/policies.cuh"

RETORT_CUDA_DIVERGENCE(retort::ForwardKl)
RETORT_CUDA_DIVERGENCE(retort::ReverseKl)
RETORT_CUDA_DIVERGENCE(retort::Jsd)
RETORT_CUDA_DIVERGENCE(retort::NormalisedJsd)
RETORT_CUDA_DIVERGENCE(retort::TotalVariation)
RETORT_CUDA_DIVERGENCE(retort::SkewForwardKl)
RETORT_CUDA_DIVERGENCE(retort::SkewReverseKl)
RETORT_CUDA_DIVERGENCE(retort::SymmetricKl)
RETORT_CUDA_DIVERGENCE(retort::detail::SoftCrossEntropy)

namespace retort::kernels {

#define RETORT_CUDA_LOSSES(T)                                                                                \
  template void cross_entropy<T>(CudaDevice, Index, Index, T*, const std::int32_t*, const float*, bool,      \
                                 double*, Index);                                                            \
  template void token_log_probabilities<T>(CudaDevice, Index, Index, const T*, const std::int32_t*, double,  \
                                           float*, Index);                                                   \
  template void row_sums<T, detail::DivergenceSums>(CudaDevice, const detail::DivergenceSums&, Index, Index, \
                                                    Index, const T*, const T*, double*, Index, Index);

RETORT_CUDA_LOSSES(float)
RETORT_CUDA_LOSSES(bf16)

}  // namespace retort::kernels
