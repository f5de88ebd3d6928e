#pragma once

#include "retort/kernels/cuda/query_row.cuh"

/// Attention of a few queries a sequence, as in decoding: a block a query and head, whose threads share the
/// keys.
namespace retort::kernels::cuda {

inline constexpr int few_queries =
    8;  ///< rows of queries that do not fill a tile of the tensor cores' kernels
inline constexpr int few_queries_threads = 128;

/// Whether few_queries_kernel does it: rows of a head that a power of two of lanes reads by 16 bytes, no
/// dropout.
template <class T>
[[nodiscard]] bool few_queries_supports(const AttentionShape& s, const T* q, const T* k, const T* v) {
  constexpr Index size = Vector<T>::size;
  const auto fits = [](Index stride) { return stride % size == 0; };
  const Index lanes = s.width / size;
  return s.dropout == 0 && fits(s.width) && lanes >= 1 && lanes <= warp_size && (lanes & (lanes - 1)) == 0 &&
         fits(s.q_stride) && fits(s.k_stride) && fits(s.v_stride) && aligned(q, k, v);
}

/// Grid (queries, heads, sequences). width / 8 neighbouring lanes (width / 4 in float) make a team, which
/// goes through every teams-th key with a softmax of its own; the teams' results are joined at the end.
template <class T>
__global__ void few_queries_kernel(AttentionProblem<T> a) {
  constexpr int size = Vector<T>::size, at_once = 4;  // keys whose loads are under way together
  RETORT_SHARED(float, sums, few_queries_threads* size);
  RETORT_SHARED(float, highs, few_queries_threads);
  RETORT_SHARED(float, totals, few_queries_threads);
  const QueryRow<T> row{a, blockIdx.z, blockIdx.y, blockIdx.x};
  if (row.i >= a.queries.length[row.b]) return;
  const int lanes = static_cast<int>(a.shape.width) / size, teams = few_queries_threads / lanes;
  const int team = static_cast<int>(threadIdx.x) / lanes,
            column = static_cast<int>(threadIdx.x) % lanes * size;
  const Index seen = row.seen();
  const float lowest = -std::numeric_limits<float>::infinity(), scale = static_cast<float>(a.shape.scale);

  const auto q = Vector<T>::load(row.q() + column);
  float high = lowest, total = 0, sum[size] = {};
  for (Index first = 0; first < seen; first += Index{at_once} * teams) {
    Vector<T> k[at_once], v[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const Index j = first + Index{u} * teams + team;
      k[u] = j < seen ? Vector<T>::load(row.k(j) + column) : Vector<T>{};
      v[u] = j < seen ? Vector<T>::load(row.v(j) + column) : Vector<T>{};
    }
    float score[at_once], new_high = high;
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const Index j = first + Index{u} * teams + team;
      float dot = 0;
#pragma unroll
      for (int c = 0; c < size; ++c) dot += static_cast<float>(q.at[c]) * static_cast<float>(k[u].at[c]);
      for (int offset = lanes / 2; offset > 0; offset /= 2) dot += __shfl_xor_sync(all_lanes, dot, offset);
      score[u] = j < seen ? dot * scale + row.bias(j) : lowest;
      new_high = Highest{}(new_high, score[u]);
    }
    const float shift = new_high == lowest ? 0.0f : new_high, old = std::exp(high - shift);
    total *= old;
#pragma unroll
    for (int c = 0; c < size; ++c) sum[c] *= old;
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const float p = std::exp(score[u] - shift);
      total += p;
#pragma unroll
      for (int c = 0; c < size; ++c) sum[c] += p * static_cast<float>(v[u].at[c]);
    }
    high = new_high;
  }

  const int width = static_cast<int>(a.shape.width);
#pragma unroll
  for (int c = 0; c < size; ++c) sums[team * width + column + c] = sum[c];
  if (column == 0) highs[team] = high, totals[team] = total;
  __syncthreads();
  float top = lowest, all = 0;
  for (int t = 0; t < teams; ++t) top = Highest{}(top, highs[t]);
  const float shift = top == lowest ? 0.0f : top;
  for (int t = 0; t < teams; ++t) all += std::exp(highs[t] - shift) * totals[t];
  T* out = a.o + row.row() * a.shape.o_stride + row.h * width;
  for (int d = static_cast<int>(threadIdx.x); d < width; d += few_queries_threads) {
    float value = 0;
    for (int t = 0; t < teams; ++t) value += std::exp(highs[t] - shift) * sums[t * width + d];
    out[d] = static_cast<T>(seen == 0 ? 0.0f : value / all);
  }
  if (threadIdx.x == 0) a.lse[row.row() * a.shape.heads + row.h] = seen == 0 ? lowest : top + std::log(all);
}

}  // namespace retort::kernels::cuda
