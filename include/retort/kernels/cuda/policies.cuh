#pragma once

#include "retort/core/functors.hpp"
#include "retort/kernels/cuda/map.cuh"
#include "retort/kernels/cuda/row_loss.cuh"
#include "retort/kernels/cuda/sparse_row_loss.cuh"

/// How a policy gets onto the GPU: kernels are compiled ahead for each, in a .cu file that includes this and
/// names it once, outside of any namespace. The shipped ones are named in map.cu and distill/divergences.cu;
/// a user's own in a file of theirs:
///
///   #include "retort/kernels/cuda/policies.cuh"
///   #include "my_divergence.hpp"
///   RETORT_CUDA_DIVERGENCE(MyDivergence)

/// A pointwise functor of one, two or three numbers.
#define RETORT_CUDA_MAP1(...)                                                               \
  template void retort::kernels::map<float, __VA_ARGS__, float>(                            \
      retort::CudaDevice, retort::Write, retort::Index, __VA_ARGS__, float*, const float*); \
  template void retort::kernels::map<retort::bf16, __VA_ARGS__, retort::bf16>(              \
      retort::CudaDevice, retort::Write, retort::Index, __VA_ARGS__, retort::bf16*, const retort::bf16*);
#define RETORT_CUDA_MAP2(...)                                                                             \
  template void retort::kernels::map<float, __VA_ARGS__, float, float>(                                   \
      retort::CudaDevice, retort::Write, retort::Index, __VA_ARGS__, float*, const float*, const float*); \
  template void retort::kernels::map<retort::bf16, __VA_ARGS__, retort::bf16, retort::bf16>(              \
      retort::CudaDevice, retort::Write, retort::Index, __VA_ARGS__, retort::bf16*, const retort::bf16*,  \
      const retort::bf16*);
#define RETORT_CUDA_MAP3(...)                                                                              \
  template void retort::kernels::map<float, __VA_ARGS__, float, float, float>(                             \
      retort::CudaDevice, retort::Write, retort::Index, __VA_ARGS__, float*, const float*, const float*,   \
      const float*);                                                                                       \
  template void retort::kernels::map<retort::bf16, __VA_ARGS__, retort::bf16, retort::bf16, retort::bf16>( \
      retort::CudaDevice, retort::Write, retort::Index, __VA_ARGS__, retort::bf16*, const retort::bf16*,   \
      const retort::bf16*, const retort::bf16*);

/// An activation policy (core/activations.hpp), alone and gated.
#define RETORT_CUDA_ACTIVATION(A)                         \
  RETORT_CUDA_MAP1(retort::functors::Activate<A>)         \
  RETORT_CUDA_MAP2(retort::functors::ActivateGradient<A>) \
  RETORT_CUDA_MAP2(retort::functors::Gated<A>)            \
  RETORT_CUDA_MAP3(retort::functors::GatedGradient<A>)    \
  RETORT_CUDA_MAP2(retort::functors::GatedValueGradient<A>)

#define RETORT_CUDA_DIVERGENCE_OF(T, D)                                                                     \
  template void retort::kernels::row_loss<T, D>(retort::CudaDevice, const D&,                               \
                                                const retort::kernels::RowLossShape&, T*, T*, const float*, \
                                                double*, const retort::kernels::TokenSlopes<T>&);           \
  template void retort::kernels::sparse_row_loss<T, D>(                                                     \
      retort::CudaDevice, const D&, const retort::kernels::SparseRowLossShape&, T*, const std::int32_t*,    \
      const float*, const float*, const float*, double*);

/// A divergence (distill/divergences.hpp), from a teacher's logits and from its most probable tokens.
#define RETORT_CUDA_DIVERGENCE(D)     \
  RETORT_CUDA_DIVERGENCE_OF(float, D) \
  RETORT_CUDA_DIVERGENCE_OF(retort::bf16, D)
