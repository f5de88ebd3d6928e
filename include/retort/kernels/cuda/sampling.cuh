#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/select.cuh"

/// Drawing tokens where the logits are: a block a row, by the rules of generate/samplers.hpp.
namespace retort::kernels {

namespace cuda {

/// log of the sum of exp(factor x) over the kept entries, as two numbers; see LogNormaliser.
template <class T>
__device__ LogNormaliser kept_normaliser(const T* x, Index n, const Kept& kept, float factor, double* place,
                                         float* place_float) {
  float high = -std::numeric_limits<float>::infinity();
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    if (kept(x, i)) high = Highest{}(high, static_cast<float>(x[i]) * factor);
  high = block_reduce(high, Highest{}, place_float);
  Accumulator sum;
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    if (kept(x, i)) sum.add(std::exp(static_cast<float>(x[i]) * factor - high));
  return {factor, high, static_cast<float>(std::log(block_reduce(sum.value(), Sum{}, place)))};
}

/// The place of the highest entry, of equals the first.
template <class T>
__device__ Index place_of_highest(const T* x, Index n, unsigned long long* place) {
  unsigned long long best = 0;
  for (Index i = threadIdx.x; i < n; i += blockDim.x) {
    const auto key = (std::uint64_t{ordered_key(static_cast<float>(x[i]))} << 32) |
                     (0xffffffffu - static_cast<std::uint32_t>(i));
    best = key > best ? key : best;
  }
  best = block_reduce(
      best, [](unsigned long long a, unsigned long long b) { return a > b ? a : b; }, place);
  return static_cast<Index>(0xffffffffu - static_cast<std::uint32_t>(best & 0xffffffffu));
}

inline constexpr double mass_unit = 1125899906842624.0;  // 2^50: probabilities as integers

template <class T>
__global__ void draw_tokens_kernel(SamplerSteps sampler, Index n, Index stride, const T* logits,
                                   const double* u, DrawnToken* drawn) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  RETORT_SHARED(unsigned long long, place_key, 32);
  RETORT_SHARED(SelectPlace, search, 1);
  RETORT_SHARED(double, sums, row_threads_most);
  const T* x = logits + Index{blockIdx.x} * stride;
  DrawnToken& out = drawn[blockIdx.x];
  const auto log_q = log_normaliser(false, x, n, 1.0f, place, place_float);
  if (!(log_q.rest == log_q.rest) || !(log_q.high - log_q.high == 0)) {
    if (threadIdx.x == 0) out = {-1, 0, 0};
    return;
  }
  if (sampler.takes_highest) {
    const Index best = place_of_highest(x, n, place_key);
    if (threadIdx.x == 0)
      out = {static_cast<std::int32_t>(best), static_cast<double>(log_q(static_cast<float>(x[best]))), 0};
    return;
  }
  float factor = 1;
  Kept kept{n};
  for (int s = 0; s < sampler.count; ++s) {
    const double value = sampler.steps[static_cast<std::size_t>(s)].value;
    switch (sampler.steps[static_cast<std::size_t>(s)].kind) {
      case SamplerSteps::Kind::temperature:
        factor *= static_cast<float>(1 / value);
        break;
      case SamplerSteps::Kind::first_tokens:
        if (static_cast<Index>(value) < kept.limit) kept.limit = static_cast<Index>(value);
        break;
      case SamplerSteps::Kind::top_k:
        if (value > 0 && value < static_cast<double>(n))
          kept = keep_largest(
              x, n, kept, static_cast<unsigned long long>(value), [](Index) { return 1ull; }, search[0]);
        break;
      case SamplerSteps::Kind::top_p:
        if (value < 1) {
          const auto log_p = kept_normaliser(x, n, kept, factor, place, place_float);
          kept = keep_largest(
              x, n, kept, static_cast<unsigned long long>(value * mass_unit),
              [&](Index i) {
                return static_cast<unsigned long long>(
                    std::exp(static_cast<double>(log_p(static_cast<float>(x[i])))) * mass_unit);
              },
              search[0]);
        }
        break;
    }
  }
  // The first place at which the cumulative weight exceeds u times the sum: every thread adds a run of the
  // row.
  const auto log_p = kept_normaliser(x, n, kept, factor, place, place_float);
  const auto weight = [&](Index i) {
    return kept(x, i) ? static_cast<double>(std::exp(log_p(static_cast<float>(x[i])))) : 0.0;
  };
  const Index run = (n + blockDim.x - 1) / blockDim.x, begin = run * threadIdx.x;
  const Index end = begin + run < n ? begin + run : n;
  double mine = 0;
  for (Index i = begin; i < end; ++i) mine += weight(i);
  __syncthreads();
  sums[threadIdx.x] = mine;
  if (threadIdx.x == 0) out = {-2, 0, 0};
  __syncthreads();
  double before = 0, total = 0;
  unsigned last = 0;  // the last thread with any weight
  for (unsigned t = 0; t < blockDim.x; ++t) {
    if (t == threadIdx.x) before = total;
    total += sums[t];
    if (sums[t] > 0) last = t;
  }
  const double goal = u[blockIdx.x] * total;
  const bool here = mine > 0 && before <= goal && (goal < before + mine || threadIdx.x == last);
  if (!here) return;
  Index chosen = -1;
  double reached = before, share = 0;
  for (Index i = begin; i < end; ++i) {
    const double w = weight(i);
    if (!(w > 0)) continue;
    chosen = i;
    share = w / total;
    reached += w;
    if (reached > goal) break;
  }
  if (chosen >= 0)
    out = {static_cast<std::int32_t>(chosen), static_cast<double>(log_q(static_cast<float>(x[chosen]))),
           std::log(share)};
}

/// A row of the mixture of two models: a block a row.
template <class T>
__global__ void mix_rows_kernel(bool vectors, float alpha, Index n, const T* student, Index student_stride,
                                const T* teacher, Index teacher_stride, float* mixed) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const T *s = student + Index{blockIdx.x} * student_stride,
          *t = teacher + Index{blockIdx.x} * teacher_stride;
  float* to = mixed + Index{blockIdx.x} * n;
  if (alpha == 0 || alpha == 1) {  // to the bit
    for (Index i = threadIdx.x; i < n; i += blockDim.x) to[i] = static_cast<float>(alpha == 0 ? s[i] : t[i]);
    return;
  }
  const auto log_q = log_normaliser(vectors, s, n, 1.0f, place, place_float);
  __syncthreads();
  const auto log_p = log_normaliser(vectors, t, n, 1.0f, place, place_float);
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    to[i] = std::log(alpha * std::exp(log_p(static_cast<float>(t[i]))) +
                     (1 - alpha) * std::exp(log_q(static_cast<float>(s[i]))));
}

/// The k largest of a row, see kernels/cpu/top_k.hpp. Dynamic shared memory: k places.
template <class T>
__global__ void top_k_kernel(TopKShape shape, const T* logits, std::int32_t* ids, float* log_p,
                             float* log_tail) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  RETORT_SHARED(SelectPlace, search, 1);
  RETORT_SHARED(unsigned, count, 1);
  auto* chosen = dynamic_shared<std::int32_t>();
  const Index r = blockIdx.x, n = shape.vocabulary, k = shape.k;
  const T* x = logits + r * shape.columns;
  const float factor = static_cast<float>(1 / shape.temperature);
  Kept kept{n};
  if (k < n)
    kept = keep_largest(
        x, n, kept, static_cast<unsigned long long>(k), [](Index) { return 1ull; }, search[0]);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    if (kept(x, i)) {
      const unsigned at = atomicAdd(&count[0], 1u);
      if (at < k) chosen[at] = static_cast<std::int32_t>(i);
    }
  __syncthreads();
  const auto row = log_normaliser(false, x, n, factor, place, place_float);
  // The others alone: no probability is a difference of others.
  float high = -std::numeric_limits<float>::infinity();
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    if (!kept(x, i)) high = Highest{}(high, static_cast<float>(x[i]) * factor);
  high = block_reduce(high, Highest{}, place_float);
  Accumulator tail;
  if (high > -std::numeric_limits<float>::infinity())
    for (Index i = threadIdx.x; i < n; i += blockDim.x)
      if (!kept(x, i)) tail.add(std::exp(static_cast<float>(x[i]) * factor - high));
  const double tail_sum = block_reduce(tail.value(), Sum{}, place);
  const bool number = row.rest == row.rest && row.high - row.high == 0;
  if (threadIdx.x == 0) {
    const double of_tail = static_cast<double>(high) - static_cast<double>(row.high) + std::log(tail_sum) -
                           static_cast<double>(row.rest);
    log_tail[r] = !number        ? std::numeric_limits<float>::quiet_NaN()
                  : tail_sum > 0 ? static_cast<float>(of_tail < 0 ? of_tail : 0)
                                 : -std::numeric_limits<float>::infinity();
  }
  // Each finds its rank among the chosen.
  for (Index i = threadIdx.x; i < k; i += blockDim.x) {
    const std::int32_t id = chosen[i];
    const std::uint32_t key = ordered_key(static_cast<float>(x[id]));
    Index rank = 0;
    for (Index j = 0; j < k; ++j) {
      const std::uint32_t other = ordered_key(static_cast<float>(x[chosen[j]]));
      rank += other > key || (other == key && chosen[j] < id) ? 1 : 0;
    }
    ids[r * k + rank] = id;
    log_p[r * k + rank] = number ? row(static_cast<float>(x[id])) : std::numeric_limits<float>::quiet_NaN();
  }
}

}  // namespace cuda

template <Real T>
void draw_tokens(CudaDevice, const SamplerSteps& sampler, Index rows, Index vocabulary, T* logits,
                 const double* u, DrawnToken* drawn, Index stride) {
  using namespace cuda;
  if (rows == 0) return;
  const auto count = static_cast<std::size_t>(rows);
  const Scratch numbers(count * sizeof(double)), tokens(count * sizeof(DrawnToken));
  upload(u, numbers.as<double>(), count * sizeof(double));
  launch(draw_tokens_kernel<T>, static_cast<unsigned>(rows), threads_for_row(vocabulary), 0, sampler,
         vocabulary, row_stride(stride, vocabulary), static_cast<const T*>(logits), numbers.as<double>(),
         tokens.as<DrawnToken>());
  download(tokens.as<DrawnToken>(), drawn, count * sizeof(DrawnToken));
}

template <Real T>
void mix_rows(CudaDevice, double alpha, Index rows, Index n, const T* student, Index student_stride,
              const T* teacher, Index teacher_stride, Statistic<T>* mixed) {
  using namespace cuda;
  if (rows * n == 0) return;
  constexpr Index size = Vector<T>::size;
  const bool vectors = aligned(student, teacher) && student_stride % size == 0 && teacher_stride % size == 0;
  launch(mix_rows_kernel<T>, static_cast<unsigned>(rows), threads_for_row(n), 0, vectors,
         static_cast<float>(alpha), n, student, student_stride, teacher, teacher_stride, mixed);
}

template <Real T>
void top_k_log_probabilities(CudaDevice, const TopKShape& shape, T* logits, std::int32_t* ids,
                             Statistic<T>* log_p, Statistic<T>* log_tail) {
  using namespace cuda;
  if (shape.rows == 0) return;
  launch(top_k_kernel<T>, static_cast<unsigned>(shape.rows), threads_for_row(shape.vocabulary),
         static_cast<std::size_t>(shape.k) * sizeof(std::int32_t), shape, static_cast<const T*>(logits), ids,
         log_p, log_tail);
}

}  // namespace retort::kernels
