#pragma once

#include "retort/kernels/cuda/parallel.cuh"

/// Reductions over one row by a whole block. Threads add in float, blocks of 16 elements at a time, and these
/// in double.
namespace retort::kernels::cuda {
using namespace retort::cuda;

inline constexpr int row_threads_most = 512;

/// Threads for a row of n elements.
[[nodiscard]] inline unsigned threads_for_row(Index n) {
  unsigned threads = 64;
  while (threads < row_threads_most && Index{threads} * 8 < n) threads *= 2;
  return threads;
}

/// Calls f(i, value of x[i]) for the thread's elements of a row; by 16 bytes if `vectors`.
template <class T, class F>
__device__ void for_block_row(bool vectors, Index n, const T* x, F f) {
  if (vectors) {
    constexpr int size = Vector<T>::size;
    const Index whole = n / size * size;
    for (Index i = Index{threadIdx.x} * size; i < whole; i += Index{blockDim.x} * size) {
      const auto v = Vector<T>::load(x + i);
#pragma unroll
      for (int j = 0; j < size; ++j) f(i + j, static_cast<float>(v.at[j]));
    }
#pragma unroll 1
    for (Index i = whole + threadIdx.x; i < n; i += blockDim.x) f(i, static_cast<float>(x[i]));
  } else {
    for (Index i = threadIdx.x; i < n; i += blockDim.x) f(i, static_cast<float>(x[i]));
  }
}

/// Calls f(i, x[i], y[i]) for the thread's elements of two rows; by 16 bytes if `vectors`.
template <class T, class F>
__device__ void for_block_rows(bool vectors, Index n, const T* x, const T* y, F f) {
  Index first = 0;
  if (vectors) {
    constexpr int size = Vector<T>::size;
    first = n / size * size;
    for (Index i = Index{threadIdx.x} * size; i < first; i += Index{blockDim.x} * size) {
      const auto a = Vector<T>::load(x + i), b = Vector<T>::load(y + i);
#pragma unroll
      for (int j = 0; j < size; ++j) f(i + j, static_cast<float>(a.at[j]), static_cast<float>(b.at[j]));
    }
  }
#pragma unroll 1
  for (Index i = first + threadIdx.x; i < n; i += blockDim.x)
    f(i, static_cast<float>(x[i]), static_cast<float>(y[i]));
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

/// Of a whole row, in all threads. `place`: shared memory for 32 doubles, `place_float` for 32 floats.
template <class T>
__device__ LogNormaliser log_normaliser(bool vectors, const T* x, Index n, float factor, double* place,
                                        float* place_float) {
  float high = -std::numeric_limits<float>::infinity();
  for_block_row(vectors, n, x, [&](Index, float v) { high = Highest{}(high, v); });
  high = block_reduce(high, Highest{}, place_float) * factor;
  Accumulator sum;
  for_block_row(vectors, n, x, [&](Index, float v) { sum.add(std::exp(v * factor - high)); });
  return {factor, high, static_cast<float>(std::log(block_reduce(sum.value(), Sum{}, place)))};
}

}  // namespace retort::kernels::cuda
