#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"

/// Layer norm and RMS norm, a warp a row; bias rows; sums over rows in two steps of fixed order.
namespace retort::kernels {

namespace cuda {
using namespace retort::cuda;

inline constexpr int norm_warps = 4;  // rows a block works on

/// Calls f(i, value of x[i]) for the lane's elements of a row, 16 bytes at a time where `vectors`.
template <class T, class F>
__device__ void for_row(bool vectors, Index n, const T* x, F f) {
  const Index lane = threadIdx.x % warp_size;
  if (vectors) {
    constexpr int size = Vector<T>::size;
    for (Index i = lane * size; i < n; i += warp_size * size) {
      const auto v = Vector<T>::load(x + i);
#pragma unroll
      for (int j = 0; j < size; ++j) f(i + j, static_cast<float>(v.at[j]));
    }
  } else {
    for (Index i = lane; i < n; i += warp_size) f(i, static_cast<float>(x[i]));
  }
}

/// Writes f(i) for the lane's elements of a row.
template <class T, class F>
__device__ void write_row(bool vectors, bool add, Index n, T* y, F f) {
  const Index lane = threadIdx.x % warp_size;
  if (vectors) {
    constexpr int size = Vector<T>::size;
    for (Index i = lane * size; i < n; i += warp_size * size) {
      const Vector<T> before = add ? Vector<T>::load(y + i) : Vector<T>{};
      Vector<T> v;
#pragma unroll
      for (int j = 0; j < size; ++j)
        v.at[j] = static_cast<T>(f(i + j) + (add ? static_cast<float>(before.at[j]) : 0.0f));
      v.store(y + i);
    }
  } else {
    for (Index i = lane; i < n; i += warp_size)
      y[i] = static_cast<T>(f(i) + (add ? static_cast<float>(y[i]) : 0.0f));
  }
}

template <class T>
__global__ void norm_kernel(bool vectors, Index rows, Index n, const T* x, const T* gain, const T* bias,
                            float eps, T* y, float* mean, float* rstd) {
  const Index r = Index{blockIdx.x} * norm_warps + threadIdx.x / warp_size;
  if (r >= rows) return;
  const T* from = x + r * n;
  float m = 0;
  if (mean != nullptr) {
    float sum = 0;
    for_row(vectors, n, from, [&](Index, float v) { sum += v; });
    m = warp_reduce(sum, Sum{}) / static_cast<float>(n);
  }
  float square = 0;
  for_row(vectors, n, from, [&](Index, float v) { square += (v - m) * (v - m); });
  square = warp_reduce(square, Sum{});
  const float s = 1 / std::sqrt(square / static_cast<float>(n) + eps);
  write_row(vectors, false, n, y + r * n, [&](Index i) {
    const float normal = (static_cast<float>(from[i]) - m) * s;
    return normal * static_cast<float>(gain[i]) + (bias != nullptr ? static_cast<float>(bias[i]) : 0.0f);
  });
  if (threadIdx.x % warp_size == 0) {
    if (mean != nullptr) mean[r] = m;
    rstd[r] = s;
  }
}

template <class T>
__global__ void norm_backward_kernel(bool vectors, bool add, Index rows, Index n, const T* x, const T* gain,
                                     const float* mean, const float* rstd, const T* dy, T* dx) {
  const Index r = Index{blockIdx.x} * norm_warps + threadIdx.x / warp_size;
  if (r >= rows) return;
  const T *from = x + r * n, *dr = dy + r * n;
  const float m = mean != nullptr ? mean[r] : 0, s = rstd[r];
  float g_sum = 0, gx_sum = 0;
  for_row(vectors, n, dr, [&](Index i, float d) {
    const float g = d * static_cast<float>(gain[i]);
    g_sum += g;
    gx_sum += g * (static_cast<float>(from[i]) - m) * s;
  });
  const float over = 1 / static_cast<float>(n);
  const float g_mean = mean != nullptr ? warp_reduce(g_sum, Sum{}) * over : 0.0f;
  const float gx_mean = warp_reduce(gx_sum, Sum{}) * over;
  write_row(vectors, add, n, dx + r * n, [&](Index i) {
    const float normal = (static_cast<float>(from[i]) - m) * s;
    return s * (static_cast<float>(dr[i]) * static_cast<float>(gain[i]) - g_mean - normal * gx_mean);
  });
}

template <class T>
__global__ void add_bias_kernel(Index count, Index n, const T* bias, T* y) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += Index{gridDim.x} * blockDim.x)
    y[i] = static_cast<T>(static_cast<float>(y[i]) + static_cast<float>(bias[i % n]));
}

inline constexpr int column_lanes = 32, row_threads = 8, rows_a_block = 256;

/// The terms of a column sum.
template <class T>
struct RowTerm {
  Index stride;
  const T* x;
  __device__ float operator()(Index r, Index j) const { return static_cast<float>(x[r * stride + j]); }
};
template <class T>
struct GainTerm {
  Index n;
  const T *x, *dy;
  const float *mean, *rstd;
  __device__ float operator()(Index r, Index j) const {
    const float m = mean != nullptr ? mean[r] : 0;
    return static_cast<float>(dy[r * n + j]) * (static_cast<float>(x[r * n + j]) - m) * rstd[r];
  }
};

/// part (blocks of rows, n): sums of `rows_a_block` rows; threads (32 columns, 8 rows).
template <class Term>
__global__ void column_parts_kernel(Index rows, Index n, Term term, float* part) {
  RETORT_SHARED(float, sums, column_lanes* row_threads);
  const Index j = Index{blockIdx.x} * column_lanes + threadIdx.x;
  const Index begin = Index{blockIdx.y} * rows_a_block,
              end = begin + rows_a_block < rows ? begin + rows_a_block : rows;
  float sum = 0;
  if (j < n)
    for (Index r = begin + threadIdx.y; r < end; r += row_threads) sum += term(r, j);
  sums[threadIdx.y * column_lanes + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || j >= n) return;
  for (int t = 1; t < row_threads; ++t) sum += sums[t * column_lanes + threadIdx.x];
  part[Index{blockIdx.y} * n + j] = sum;
}

template <class T>
__global__ void join_columns_kernel(bool add, Index parts, Index n, const float* part, T* out) {
  const Index j = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (j >= n) return;
  double sum = 0;
  for (Index p = 0; p < parts; ++p) sum += static_cast<double>(part[p * n + j]);
  out[j] = static_cast<T>(static_cast<float>(sum) + (add ? static_cast<float>(out[j]) : 0.0f));
}

template <class T, class Term>
void column_sums(Write write, Index rows, Index n, const Term& term, T* out) {
  if (n == 0) return;
  const Index parts = (rows + rows_a_block - 1) / rows_a_block;
  const Scratch scratch(static_cast<std::size_t>(std::max<Index>(1, parts * n)) * sizeof(float));
  if (parts > 0)
    launch(column_parts_kernel<Term>,
           dim3(static_cast<unsigned>((n + column_lanes - 1) / column_lanes), static_cast<unsigned>(parts)),
           dim3(column_lanes, row_threads), 0, rows, n, term, scratch.as<float>());
  launch(join_columns_kernel<T>, static_cast<unsigned>((n + 63) / 64), 64, 0, write == Write::accumulate,
         parts, n, scratch.as<float>(), out);
}

[[nodiscard]] inline unsigned norm_blocks(Index rows) {
  return static_cast<unsigned>((rows + norm_warps - 1) / norm_warps);
}

}  // namespace cuda

template <Real T>
void layer_norm(CudaDevice, Index rows, Index n, const T* x, const T* gain, const T* bias, Statistic<T> eps,
                T* y, Statistic<T>* mean, Statistic<T>* rstd) {
  if (rows == 0) return;
  const bool vectors = n % cuda::Vector<T>::size == 0 && cuda::aligned(x, y);
  cuda::launch(cuda::norm_kernel<T>, cuda::norm_blocks(rows), cuda::norm_warps * cuda::warp_size, 0, vectors,
               rows, n, x, gain, bias, eps, y, mean, rstd);
}

template <Real T>
void rms_norm(CudaDevice, Index rows, Index n, const T* x, const T* gain, Statistic<T> eps, T* y,
              Statistic<T>* rstd) {
  if (rows == 0) return;
  const bool vectors = n % cuda::Vector<T>::size == 0 && cuda::aligned(x, y);
  cuda::launch(cuda::norm_kernel<T>, cuda::norm_blocks(rows), cuda::norm_warps * cuda::warp_size, 0, vectors,
               rows, n, x, gain, static_cast<const T*>(nullptr), eps, y, static_cast<float*>(nullptr), rstd);
}

template <Real T>
void norm_backward_input(CudaDevice, Write write, Index rows, Index n, const T* x, const T* gain,
                         const Statistic<T>* mean, const Statistic<T>* rstd, const T* dy, T* dx) {
  if (rows == 0) return;
  const bool vectors = n % cuda::Vector<T>::size == 0 && cuda::aligned(dy, dx);
  cuda::launch(cuda::norm_backward_kernel<T>, cuda::norm_blocks(rows), cuda::norm_warps * cuda::warp_size, 0,
               vectors, write == Write::accumulate, rows, n, x, gain, mean, rstd, dy, dx);
}

template <Real T>
void norm_backward_gain(CudaDevice, Write write, Index rows, Index n, const T* x, const Statistic<T>* mean,
                        const Statistic<T>* rstd, const T* dy, T* dgain) {
  cuda::column_sums(write, rows, n, cuda::GainTerm<T>{n, x, dy, mean, rstd}, dgain);
}

template <Real T>
void sum_rows(CudaDevice, Write write, Index rows, Index n, const T* x, T* out, Index stride) {
  cuda::column_sums(write, rows, n, cuda::RowTerm<T>{row_stride(stride, n), x}, out);
}

template <Real T>
void add_bias(CudaDevice, Index rows, Index n, const T* bias, T* y) {
  if (rows * n == 0) return;
  cuda::launch(cuda::add_bias_kernel<T>, cuda::blocks_for(rows * n, 256 * 4), 256, 0, rows * n, n, bias, y);
}

}  // namespace retort::kernels
