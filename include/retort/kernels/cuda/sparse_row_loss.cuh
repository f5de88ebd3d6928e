#pragma once

#include <algorithm>

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/row.cuh"

/// The divergence from k tokens of a teacher and a bucket for all others, a block a row; see
/// kernels/cpu/sparse_row_loss.hpp.
namespace retort::kernels {

namespace cuda {

/// Dynamic shared memory: k + 1 pairs of log-probabilities, log p and log q. The k tokens' logits are kept
/// there while -inf stands in their places, as on the CPU.
template <class T, class Divergence>
__global__ void sparse_row_loss_kernel(Divergence divergence, SparseRowLossShape shape, T* student,
                                       const std::int32_t* ids, const float* log_p, const float* log_tail,
                                       const float* weight, double* loss) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const float none = -std::numeric_limits<float>::infinity();
  const Index r = blockIdx.x, v = shape.student_vocabulary, k = shape.k;
  const Index n = v < shape.teacher_vocabulary ? v : shape.teacher_vocabulary, outcomes = k < n ? k + 1 : k;
  auto* p = dynamic_shared<float>();
  float *q = p + k + 1, *kept = q + k + 1;
  T* z = student + r * row_stride(shape.student_stride, v);
  const std::int32_t* id = ids + r * k;
  const float w = weight[r];
  if (w == 0) {
    if (threadIdx.x == 0) loss[r] = 0;
    if (shape.gradient)
      for (Index i = threadIdx.x; i < v; i += blockDim.x) z[i] = T(0.0f);
    return;
  }
  const float factor = static_cast<float>(1 / shape.temperature);
  for_few(k, [&](Index i) {
    kept[i] = static_cast<float>(z[id[i]]);
    p[i] = log_p[r * k + i];
  });
  __syncthreads();
  for_few(k, [&](Index i) { z[id[i]] = static_cast<T>(none); });
  float high = none;
  for_few(k, [&](Index i) { high = Highest{}(high, kept[i]); });
  high = block_reduce(high, Highest{}, place_float) * factor;
  Accumulator sum;
  for_few(k, [&](Index i) { sum.add(std::exp(kept[i] * factor - high)); });
  const double kept_sum = block_reduce(sum.value(), Sum{}, place);
  float tail_high = none;
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    tail_high = Highest{}(tail_high, static_cast<float>(z[i]));
  tail_high = block_reduce(tail_high, Highest{}, place_float) * factor;
  const bool empty = tail_high == none;
  Accumulator rest;
  if (!empty)
    for (Index i = threadIdx.x; i < n; i += blockDim.x)
      rest.add(std::exp(static_cast<float>(z[i]) * factor - tail_high));
  const double tail_sum = block_reduce(rest.value(), Sum{}, place);
  const float top = tail_high > high ? tail_high : high;
  const double below = static_cast<double>(tail_high) - static_cast<double>(top);
  const double total_sum = std::exp(static_cast<double>(high) - static_cast<double>(top)) * kept_sum +
                           (empty ? 0 : std::exp(below) * tail_sum);
  const LogNormaliser token{factor, top, static_cast<float>(std::log(total_sum))};
  const LogNormaliser other{factor, tail_high, static_cast<float>(std::log(tail_sum))};
  const double q_tail = below + std::log(tail_sum) - std::log(total_sum);
  for_few(k, [&](Index i) { q[i] = token(kept[i]); });
  if (threadIdx.x == 0) {
    p[k] = log_tail[r];
    q[k] = empty ? none : static_cast<float>(q_tail < 0 ? q_tail : 0);
  }
  __syncthreads();
  Accumulator terms, pulls;
  for_few(outcomes, [&](Index i) {
    terms.add(divergence.term(p[i], q[i]));
    pulls.add(divergence.pull(p[i], q[i]));
  });
  const double d = block_reduce(terms.value(), Sum{}, place);
  const auto total = static_cast<float>(block_reduce(pulls.value(), Sum{}, place));
  if (threadIdx.x == 0) loss[r] = d;
  if (!shape.gradient) {
    for_few(k, [&](Index i) { z[id[i]] = static_cast<T>(kept[i]); });
    return;
  }
  const float scale = w * factor;
  const auto gradient = [&](Index i) {
    return (divergence.pull(p[i], q[i]) - std::exp(q[i]) * total) * scale;
  };
  const float bucket = empty ? 0.0f : gradient(k);
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    z[i] = static_cast<T>(empty ? 0.0f : std::exp(other(static_cast<float>(z[i]))) * bucket);
  for (Index i = n + threadIdx.x; i < v; i += blockDim.x) z[i] = T(0.0f);
  __syncthreads();
  for_few(k, [&](Index i) { z[id[i]] = static_cast<T>(gradient(i)); });
}

}  // namespace cuda

template <Real T, class Divergence>
void sparse_row_loss(CudaDevice, const Divergence& divergence, const SparseRowLossShape& shape, T* student,
                     const std::int32_t* ids, const Statistic<T>* log_p, const Statistic<T>* log_tail,
                     const Statistic<T>* weight, double* loss) {
  if (shape.rows == 0) return;
  cuda::launch(cuda::sparse_row_loss_kernel<T, Divergence>, static_cast<unsigned>(shape.rows),
               cuda::threads_for_row(shape.teacher_vocabulary),
               static_cast<std::size_t>(3 * shape.k + 2) * sizeof(float), divergence, shape, student, ids,
               log_p, log_tail, weight, loss);
}

}  // namespace retort::kernels
