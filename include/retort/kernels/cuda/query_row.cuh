#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"
#include "retort/kernels/cuda/segments.cuh"

/// What the kernels of attention that go query by query have in common.
namespace retort::kernels::cuda {
using namespace retort::cuda;

template <class T>
struct AttentionProblem {
  AttentionShape shape;
  SegmentsView queries, keys;
  const T *q, *k, *v, *bias;
  T* o;
  float* lse;
  const T* d_o = nullptr;
  const float* delta = nullptr;  ///< (query rows, heads): sum of d_o * o
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

/// One query against the keys of its sequence.
template <class T>
struct QueryRow {
  const AttentionProblem<T>& a;
  Index b, h, i;  ///< sequence, head, query of the sequence

  __device__ Index row() const { return a.queries.begin[b] + i; }
  __device__ Index key_row() const { return a.keys.begin[b]; }
  __device__ Index kv_head() const { return h / (a.shape.heads / a.shape.kv_heads); }
  __device__ Index position() const { return Index{a.keys.length[b]} - a.queries.length[b] + i; }
  __device__ Index seen() const {
    const Index all = a.keys.length[b], upto = position() + 1;
    return a.shape.causal ? (upto < 0 ? 0 : upto < all ? upto : all) : all;
  }
  __device__ const T* q() const { return a.q + row() * a.shape.q_stride + h * a.shape.width; }
  __device__ const T* k(Index j) const {
    return a.k + (key_row() + j) * a.shape.k_stride + kv_head() * a.shape.width;
  }
  __device__ const T* v(Index j) const {
    return a.v + (key_row() + j) * a.shape.v_stride + kv_head() * a.shape.width;
  }
  __device__ const T* d_o() const { return a.d_o + row() * a.shape.o_stride + h * a.shape.width; }

  /// Of two rows of a head, by 16 bytes where they allow it.
  __device__ float dot(const T* x, const T* y) const {
    constexpr int size = Vector<T>::size;
    const Index width = a.shape.width;
    float sum = 0;
    if (width % size == 0 &&
        (reinterpret_cast<std::uintptr_t>(x) | reinterpret_cast<std::uintptr_t>(y)) % 16 == 0) {
      for (Index d = 0; d < width; d += size) {
        const auto u = Vector<T>::load(x + d), v = Vector<T>::load(y + d);
#pragma unroll
        for (int c = 0; c < size; ++c) sum += static_cast<float>(u.at[c]) * static_cast<float>(v.at[c]);
      }
      return sum;
    }
    for (Index d = 0; d < width; ++d) sum += static_cast<float>(x[d]) * static_cast<float>(y[d]);
    return sum;
  }
  __device__ float bias(Index j) const {
    if (a.bias == nullptr) return 0;
    return static_cast<float>(
        a.bias[h * (2 * a.shape.bias_reach - 1) + j - position() + a.shape.bias_reach - 1]);
  }
  __device__ float score(Index j) const {
    const T *query = q(), *key = k(j);
    return dot(query, key) * static_cast<float>(a.shape.scale) + bias(j);
  }
  /// What dropout multiplies the weight of key j with.
  __device__ float kept(Index j) const {
    if (a.shape.dropout == 0) return 1;
    const RandomKey key = a.shape.key.fork(static_cast<std::uint64_t>(row() * a.shape.heads + h));
    const auto words = key.block(static_cast<std::uint64_t>(j / 4));
    const std::uint32_t word = (j & 3) == 0   ? words[0]
                               : (j & 3) == 1 ? words[1]
                               : (j & 3) == 2 ? words[2]
                                              : words[3];
    return RandomKey::to_uniform<double>(word) < a.shape.dropout
               ? 0.0f
               : static_cast<float>(1 / (1 - a.shape.dropout));
  }
  /// The gradient to the weight of key j before the softmax's, and the probability.
  __device__ float probability(Index j) const {
    return std::exp(score(j) - a.lse[row() * a.shape.heads + h]);
  }
  __device__ float d_score(Index j, float p) const {
    const T *upstream = d_o(), *value = v(j);
    return p * (dot(upstream, value) * kept(j) - a.delta[row() * a.shape.heads + h]);
  }
};

}  // namespace retort::kernels::cuda
