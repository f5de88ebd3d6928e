#pragma once

#include <type_traits>

#include "retort/kernels/cuda/fast_math.cuh"
#include "retort/kernels/cuda/parallel.cuh"

/// Reductions over one row by a whole block. Threads add in float, up to 16 elements at a time, and these in
/// double.
namespace retort::kernels::cuda {
using namespace retort::cuda;

inline constexpr int row_threads_most = 512;

/// Threads for a row of n elements.
[[nodiscard]] inline unsigned threads_for_row(Index n) {
  unsigned threads = 64;
  while (threads < row_threads_most && Index{threads} * 8 < n) threads *= 2;
  return threads;
}

/// The same for a kernel that goes through its rows several times. With so many threads a row few rows are
/// under way at once: they stay in the caches meanwhile.
[[nodiscard]] inline unsigned threads_for_long_row(Index n) {
  return n < 32 * 1024 ? threads_for_row(n) : 1024;
}

/// Some numbers of a row.
template <int count>
struct Piece {
  float at[count];

  /// From 16 bytes or from one element.
  template <class T>
  __device__ static Piece load(const T* x) {
    Piece piece;
    if constexpr (count == 1) {
      piece.at[0] = static_cast<float>(*x);
    } else {
      const auto v = Vector<T>::load(x);
#pragma unroll
      for (int j = 0; j < count; ++j) piece.at[j] = static_cast<float>(v.at[j]);
    }
    return piece;
  }
  template <class T>
  __device__ void store(T* x) const {
    if constexpr (count == 1) {
      *x = static_cast<T>(at[0]);
    } else {
      Vector<T> v;
#pragma unroll
      for (int j = 0; j < count; ++j) v.at[j] = static_cast<T>(at[j]);
      v.store(x);
    }
  }
};

template <int count>
using PieceSize = std::integral_constant<int, count>;

/// Calls f(i, PieceSize<count>) for the thread's elements i to i + count - 1 of a row of n numbers of type T:
/// 16 bytes at once if `vectors`, one by one what these leave over.
template <class T, class F>
__device__ void for_pieces(bool vectors, Index n, F f) {
  Index first = 0;
  if (vectors) {
    constexpr int size = Vector<T>::size;
    first = n / size * size;
#pragma unroll 1
    for (Index i = Index{threadIdx.x} * size; i < first; i += Index{blockDim.x} * size)
      f(i, PieceSize<size>{});
  }
#pragma unroll 1
  for (Index i = first + threadIdx.x; i < n; i += blockDim.x) f(i, PieceSize<1>{});
}

/// Calls f(i) for the thread's share of 0 to n - 1, where n is too small for unrolled code to be worth its
/// compile time.
template <class F>
__device__ void for_few(Index n, F f) {
#pragma unroll 1
  for (Index i = threadIdx.x; i < n; i += blockDim.x) f(i);
}

/// Adds floats, sixteen at a time in float.
struct Accumulator {
  double total = 0;
  float part = 0;
  int count = 0;

  __device__ void add(float x) {
    part += x;
    if (++count == 16) {
      total += static_cast<double>(part);
      part = 0;
      count = 0;
    }
  }
  __device__ double value() const { return total + static_cast<double>(part); }
};

/// What turns logits into log-probabilities: log softmax(factor x)_i = (factor x_i - high) - rest.
struct LogNormaliser {
  float factor, high, rest;
  __device__ float operator()(float x) const { return (x * factor - high) - rest; }
};

/// The combinations of all threads' values, each in all threads, where the number of warps is a power of two.
/// `place`: shared memory for 32 values each.
template <class N, int count, class Op>
__device__ void block_reduce_each(N (&value)[count], Op op, N* place) {
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size,
                 warps = blockDim.x / warp_size;
#pragma unroll
  for (int k = 0; k < count; ++k) value[k] = warp_reduce(value[k], op);
  __syncthreads();
#pragma unroll
  for (int k = 0; k < count; ++k)
    if (lane == 0) place[k * warp_size + warp] = value[k];
  __syncthreads();
#pragma unroll
  for (int k = 0; k < count; ++k) {
    value[k] = place[k * warp_size + lane % warps];
    for (unsigned offset = warps / 2; offset > 0; offset /= 2)
      value[k] = op(value[k], __shfl_xor_sync(all_lanes, value[k], offset));
  }
}

/// Sum of exp(factor (x - high)) over what has been added of a row, `high` the largest number of it (a NaN is
/// in the sum alone).
struct ExponentialSum {
  float high = -std::numeric_limits<float>::infinity();
  double sum = 0;

  /// factor_2 = factor log2(e).
  template <int count>
  __device__ void add(const Piece<count>& x, float factor_2) {
    float top = x.at[0];
#pragma unroll
    for (int j = 1; j < count; ++j) top = fmaxf(top, x.at[j]);
    if (top > high) {
      sum *= static_cast<double>(fast_exp2((high - top) * factor_2));
      high = top;
    }
    const float base = high == -std::numeric_limits<float>::infinity() ? 0.0f : high;
    float part = 0;
#pragma unroll
    for (int j = 0; j < count; ++j) part += fast_exp2((x.at[j] - base) * factor_2);
    sum += static_cast<double>(part);
  }
};

/// Of `count` whole rows, in all threads. Shared memory for 32 numbers a row: `place`, `place_float`.
template <int count>
__device__ void block_normalise(const ExponentialSum (&part)[count], float factor,
                                LogNormaliser (&log)[count], double* place, float* place_float) {
  float high[count];
  double sum[count];
#pragma unroll
  for (int k = 0; k < count; ++k) high[k] = part[k].high;
  block_reduce_each(high, Highest{}, place_float);
#pragma unroll
  for (int k = 0; k < count; ++k)
    sum[k] = part[k].sum * static_cast<double>(fast_exp2((part[k].high - high[k]) * (factor * log2_e)));
  block_reduce_each(sum, Sum{}, place);
#pragma unroll
  for (int k = 0; k < count; ++k) {
    const float scaled = high[k] * factor;  // rounded: the sum has been of the exact one
    const double over =
        static_cast<double>(high[k]) * static_cast<double>(factor) - static_cast<double>(scaled);
    log[k] = {factor, scaled, static_cast<float>(std::log(sum[k]) + over)};
  }
}

/// Of a whole row, in all threads. `place`: shared memory for 32 doubles, `place_float` for 32 floats.
template <class T>
__device__ LogNormaliser log_normaliser(bool vectors, const T* x, Index n, float factor, double* place,
                                        float* place_float) {
  ExponentialSum part[1];
  for_pieces<T>(vectors, n,
                [&](Index i, auto size) { part[0].add(Piece<size()>::load(x + i), factor * log2_e); });
  LogNormaliser log[1];
  block_normalise(part, factor, log, place, place_float);
  return log[0];
}

}  // namespace retort::kernels::cuda
