#pragma once

#include <optional>
#include <type_traits>

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/bias_gradient.cuh"
#include "retort/kernels/cuda/few_queries.cuh"
#include "retort/kernels/cuda/flash_attention.cuh"

/// Attention of any width, with or without dropout and bias, in float: a warp a row, keys in groups of 32, no
/// scores in memory. Full precision, and what the tensor cores' kernels (flash_attention.cuh) and that of
/// decoding (few_queries.cuh) do not do.
namespace retort::kernels {

namespace cuda {
using namespace retort::cuda;

inline constexpr int attention_warps = 4;

/// Grid (queries / warps, heads, sequences), dynamic shared memory: warps * width floats.
template <class T>
__global__ void attention_kernel(AttentionProblem<T> a) {
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const QueryRow<T> row{a, blockIdx.z, blockIdx.y, Index{blockIdx.x} * attention_warps + warp};
  if (row.i >= a.queries.length[row.b]) return;
  const Index width = a.shape.width, seen = row.seen();
  float* sum = dynamic_shared<float>() + warp * width;
  for (Index d = lane; d < width; d += warp_size) sum[d] = 0;
  const float lowest = -std::numeric_limits<float>::infinity();
  float high = lowest, total = 0;
  for (Index first = 0; first < seen; first += warp_size) {
    const Index j = first + lane;
    const float s = j < seen ? row.score(j) : lowest;
    const float new_high = Highest{}(high, warp_reduce(s, Highest{}));
    const float shift = new_high == lowest ? 0.0f : new_high;
    const float p = j < seen ? std::exp(s - shift) : 0.0f, old = std::exp(high - shift);
    total = total * old + warp_reduce(p, Sum{});
    const float weight = j < seen && p != 0 ? p * row.kept(j) : p;
    const Index group = seen - first < warp_size ? seen - first : Index{warp_size};
    for (Index d = lane; d - lane < width; d += warp_size) {
      float value = d < width ? sum[d] * old : 0.0f;
      for (int t = 0; t < group; ++t) {
        const float w = __shfl_sync(all_lanes, weight, t);
        if (d < width) value += w * static_cast<float>(row.v(first + t)[d]);
      }
      if (d < width) sum[d] = value;
    }
    high = new_high;
  }
  T* out = a.o + row.row() * a.shape.o_stride + row.h * width;
  for (Index d = lane; d < width; d += warp_size) out[d] = static_cast<T>(seen == 0 ? 0.0f : sum[d] / total);
  if (lane == 0) a.lse[row.row() * a.shape.heads + row.h] = seen == 0 ? lowest : high + std::log(total);
}

/// delta[row, h] = sum of d_o * o; grid (queries / warps, heads, sequences).
template <class T>
__global__ void attention_delta_kernel(AttentionProblem<T> a, float* delta) {
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const QueryRow<T> row{a, blockIdx.z, blockIdx.y, Index{blockIdx.x} * attention_warps + warp};
  if (row.i >= a.queries.length[row.b]) return;
  const T *o = a.o + row.row() * a.shape.o_stride + row.h * a.shape.width, *d_o = row.d_o();
  float sum = 0;
  for (Index d = lane; d < a.shape.width; d += warp_size)
    sum += static_cast<float>(o[d]) * static_cast<float>(d_o[d]);
  sum = warp_reduce(sum, Sum{});
  if (lane == 0) delta[row.row() * a.shape.heads + row.h] = sum;
}

template <class T>
__global__ void attention_dq_kernel(AttentionProblem<T> a) {
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const QueryRow<T> row{a, blockIdx.z, blockIdx.y, Index{blockIdx.x} * attention_warps + warp};
  if (row.i >= a.queries.length[row.b]) return;
  const Index width = a.shape.width, seen = row.seen();
  float* sum = dynamic_shared<float>() + warp * width;
  for (Index d = lane; d < width; d += warp_size) sum[d] = 0;
  for (Index first = 0; first < seen; first += warp_size) {
    const Index j = first + lane;
    const float ds = j < seen ? row.d_score(j, row.probability(j)) : 0.0f;
    const Index group = seen - first < warp_size ? seen - first : Index{warp_size};
    for (Index d = lane; d - lane < width; d += warp_size) {
      float value = d < width ? sum[d] : 0.0f;
      for (int t = 0; t < group; ++t) {
        const float s = __shfl_sync(all_lanes, ds, t);
        if (d < width) value += s * static_cast<float>(row.k(first + t)[d]);
      }
      if (d < width) sum[d] = value;
    }
  }
  T* out = a.dq + row.row() * a.shape.q_stride + row.h * width;
  for (Index d = lane; d < width; d += warp_size)
    out[d] = static_cast<T>(sum[d] * static_cast<float>(a.shape.scale));
}

/// A warp a key; grid (keys / warps, kv heads, sequences), dynamic shared memory: 2 warps * width floats.
template <class T>
__global__ void attention_dkv_kernel(AttentionProblem<T> a) {
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const Index b = blockIdx.z, kv = blockIdx.y, j = Index{blockIdx.x} * attention_warps + warp;
  if (j >= a.keys.length[b]) return;
  const Index width = a.shape.width, group = a.shape.heads / a.shape.kv_heads, n = a.queries.length[b];
  float *dk = dynamic_shared<float>() + 2 * warp * width, *dv = dk + width;
  for (Index d = lane; d < width; d += warp_size) dk[d] = dv[d] = 0;
  for (Index h = kv * group; h < (kv + 1) * group; ++h)
    for (Index first = 0; first < n; first += warp_size) {
      const QueryRow<T> mine{a, b, h, first + lane};
      float p = 0, ds = 0;
      if (mine.i < n && j < mine.seen()) {
        const float probability = mine.probability(j);
        ds = mine.d_score(j, probability);
        p = probability * mine.kept(j);
      }
      if (!__any_sync(all_lanes, p != 0 || ds != 0)) continue;
      const Index rows = n - first < warp_size ? n - first : Index{warp_size};
      for (Index d = lane; d - lane < width; d += warp_size) {
        float to_k = 0, to_v = 0;
        for (int t = 0; t < rows; ++t) {
          const float s = __shfl_sync(all_lanes, ds, t), w = __shfl_sync(all_lanes, p, t);
          const QueryRow<T> row{a, b, h, first + t};
          if (d < width) {
            to_k += s * static_cast<float>(row.q()[d]);
            to_v += w * static_cast<float>(row.d_o()[d]);
          }
        }
        if (d < width) dk[d] += to_k, dv[d] += to_v;
      }
    }
  const Index row = Index{a.keys.begin[b]} + j;
  for (Index d = lane; d < width; d += warp_size) {
    a.dk[row * a.shape.k_stride + kv * width + d] = static_cast<T>(dk[d] * static_cast<float>(a.shape.scale));
    a.dv[row * a.shape.v_stride + kv * width + d] = static_cast<T>(dv[d]);
  }
}

/// Blocks of attention_warps rows for the longest of some segments, one layer for each head and sequence.
[[nodiscard]] inline dim3 attention_grid(Index rows, Index heads, std::size_t sequences) {
  return dim3(static_cast<unsigned>((rows + attention_warps - 1) / attention_warps),
              static_cast<unsigned>(heads), static_cast<unsigned>(sequences));
}

/// What the tensor cores' kernels want to know of a problem, or nothing if they do not do it: dropout, widths
/// other than theirs, rows that are not aligned.
template <class T>
[[nodiscard]] std::optional<FlashArguments> flash_arguments(const AttentionShape& s, const Segments& queries,
                                                            const Segments& keys, const SegmentsView& on_q,
                                                            const SegmentsView& on_k, const T* q, const T* k,
                                                            const T* v, const T* bias, const T* o) {
  if constexpr (std::is_same_v<T, bf16>) {
    const auto fits = [](Index stride) { return stride % 8 == 0; };
    const std::size_t most = 65535;
    if (s.dropout != 0 || !flash_supports(s.width) || !aligned(q, k, v, o) || !fits(s.q_stride) ||
        !fits(s.k_stride) || !fits(s.v_stride) || !fits(s.o_stride) || queries.count() > most)
      return {};
    FlashArguments a;
    a.q = q, a.k = k, a.v = v, a.bias = bias, a.o = const_cast<bf16*>(o);
    a.q_begin = on_q.begin, a.q_length = on_q.length, a.k_begin = on_k.begin, a.k_length = on_k.length;
    a.sequences = static_cast<int>(queries.count());
    a.longest_queries = static_cast<int>(longest(queries)), a.longest_keys = static_cast<int>(longest(keys));
    a.heads = static_cast<int>(s.heads), a.kv_heads = static_cast<int>(s.kv_heads);
    a.q_stride = s.q_stride, a.k_stride = s.k_stride, a.v_stride = s.v_stride, a.o_stride = s.o_stride;
    a.scale = static_cast<float>(s.scale), a.causal = s.causal, a.bias_reach = static_cast<int>(s.bias_reach);
    return a;
  }
  return {};
}

}  // namespace cuda

template <Real T>
void attention(CudaDevice, const AttentionShape& shape, const Segments& queries, const Segments& keys,
               const T* q, const T* k, const T* v, const T* bias, T* o, Statistic<T>* lse) {
  using namespace cuda;
  const Index rows = longest(queries);
  if (rows == 0) return;
  const SegmentsOnDevice on_q(queries), on_k(keys);
  if (rows > few_queries)
    if (auto flash = flash_arguments(shape, queries, keys, on_q.view(), on_k.view(), q, k, v, bias, o)) {
      flash->lse = lse;
      return flash_forward(static_cast<int>(shape.width), *flash);
    }
  const AttentionProblem<T> problem{shape, on_q.view(), on_k.view(), q, k, v, bias, o, lse};
  if (rows <= few_queries && few_queries_supports(shape, q, k, v))
    return launch(few_queries_kernel<T>,
                  dim3(static_cast<unsigned>(rows), static_cast<unsigned>(shape.heads),
                       static_cast<unsigned>(queries.count())),
                  few_queries_threads, 0, problem);
  launch(attention_kernel<T>, attention_grid(rows, shape.heads, queries.count()), attention_warps * warp_size,
         static_cast<std::size_t>(attention_warps * shape.width) * sizeof(float), problem);
}

template <Real T>
void attention_backward(CudaDevice, const AttentionShape& shape, const Segments& queries,
                        const Segments& keys, const T* q, const T* k, const T* v, const T* bias, const T* o,
                        const Statistic<T>* lse, const T* d_o, const AttentionGradients<T>& grad) {
  using namespace cuda;
  const Index rows = longest(queries), columns = longest(keys);
  if (rows == 0 && columns == 0) return;
  const SegmentsOnDevice on_q(queries), on_k(keys);
  const Scratch delta(static_cast<std::size_t>(std::max<Index>(1, queries.end() * shape.heads)) *
                      sizeof(float));
  const auto gradient_of_bias = [&](const AttentionProblem<T>& of) {
    if (grad.bias != nullptr && rows > 0)
      bias_gradient(of, rows, static_cast<Index>(queries.count()), grad.bias);
  };
  const AttentionProblem<T> problem{shape,
                                    on_q.view(),
                                    on_k.view(),
                                    q,
                                    k,
                                    v,
                                    bias,
                                    const_cast<T*>(o),
                                    const_cast<float*>(lse),
                                    d_o,
                                    delta.as<float>(),
                                    grad.q,
                                    grad.k,
                                    grad.v};
  if (aligned(d_o, grad.q, grad.k, grad.v))
    if (auto flash = flash_arguments(shape, queries, keys, on_q.view(), on_k.view(), q, k, v, bias, o)) {
      flash->lse = const_cast<float*>(lse), flash->delta = delta.as<float>();
      if constexpr (std::is_same_v<T, bf16>)
        flash->d_o = d_o, flash->dq = grad.q, flash->dk = grad.k, flash->dv = grad.v;
      flash_backward(static_cast<int>(shape.width), *flash);
      return gradient_of_bias(problem);
    }
  const auto bytes = static_cast<std::size_t>(attention_warps * shape.width) * sizeof(float);
  const dim3 of_queries = attention_grid(rows, shape.heads, queries.count());
  if (rows > 0) {
    launch(attention_delta_kernel<T>, of_queries, attention_warps * warp_size, 0, problem, delta.as<float>());
    launch(attention_dq_kernel<T>, of_queries, attention_warps * warp_size, bytes, problem);
  }
  if (columns > 0)
    launch(attention_dkv_kernel<T>, attention_grid(columns, shape.kv_heads, keys.count()),
           attention_warps * warp_size, 2 * bytes, problem);
  gradient_of_bias(problem);
}

}  // namespace retort::kernels
