#pragma once

#include "retort/distill/divergences.hpp"
#include "retort/kernels/cpu/row_loss.hpp"
#include "retort/kernels/cpu/sparse_row_loss.hpp"

/// The CPU's row losses of the shipped divergences, which instances.cpp compiles once for a whole program.

#define RETORT_DIVERGENCE_INSTANCE(PREFIX, T, D)                                                           \
  PREFIX template void row_loss<T, D>(CpuDevice, const D&, const RowLossShape&, T*, T*, const T*, double*, \
                                      const TokenSlopes<T>&);                                              \
  PREFIX template void sparse_row_loss<T, D>(CpuDevice, const D&, const SparseRowLossShape&, T*,           \
                                             const std::int32_t*, const T*, const T*, const T*, double*);
#define RETORT_DIVERGENCE_INSTANCES(PREFIX, T)          \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, ForwardKl)      \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, ReverseKl)      \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, Jsd)            \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, NormalisedJsd)  \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, TotalVariation) \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, SkewForwardKl)  \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, SkewReverseKl)  \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, SymmetricKl)    \
  RETORT_DIVERGENCE_INSTANCE(PREFIX, T, detail::SoftCrossEntropy)

#if defined(RETORT_EXTERN_KERNELS)
namespace retort::kernels {
RETORT_DIVERGENCE_INSTANCES(extern, float)
RETORT_DIVERGENCE_INSTANCES(extern, double)
}  // namespace retort::kernels
#endif
