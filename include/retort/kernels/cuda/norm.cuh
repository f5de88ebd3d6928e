#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/column_sums.cuh"
#include "retort/kernels/cuda/mma.cuh"
#include "retort/kernels/cuda/parallel.cuh"

/// Layer norm and RMS norm, a warp a row; bias rows.
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

/// A warp's row in registers, read once: at most `held` vectors a lane, of which lane l has those of number
/// l, 32 + l and so on. Behind the row are zeros.
template <class T, int held>
struct HeldRow {
  static constexpr int size = Vector<T>::size;
  Packed<T> vectors[held];

  /// Where the lane's k-th vector begins.
  __device__ static int place(int k) {
    return (k * warp_size + static_cast<int>(threadIdx.x) % warp_size) * size;
  }
  __device__ static HeldRow load(bool wanted, int n, const T* x) {
    HeldRow row;
#pragma unroll
    for (int k = 0; k < held; ++k)
      row.vectors[k] = wanted && place(k) < n ? Packed<T>::load(x + place(k)) : Packed<T>{};
    return row;
  }
  __device__ float operator()(int k, int j) const {
    return vectors[k][j];
  }
  /// Calls f(k, j) for the lane's elements.
  template <class F>
  __device__ static void each(int n, F f) {
#pragma unroll
    for (int k = 0; k < held; ++k)
      if (place(k) < n)
#pragma unroll
        for (int j = 0; j < size; ++j) f(k, j);
  }
  /// Writes f(k, j) to a row.
  template <class F>
  __device__ static void write(int n, T* y, F f) {
#pragma unroll
    for (int k = 0; k < held; ++k)
      if (place(k) < n) {
        Packed<T> v;
#pragma unroll
        for (int word = 0; word < 4; ++word) {
          if constexpr (std::same_as<T, bf16>)
            v.words[word] = pack_bf16(f(k, 2 * word), f(k, 2 * word + 1));
          else
            v.words[word] = std::bit_cast<std::uint32_t>(f(k, word));
        }
        v.store(y + place(k));
      }
  }
};

/// Layer norm (`mean` is given) or RMS norm of rows that fit HeldRow.
template <class T, int held>
__global__ void held_norm_kernel(Index rows, int n, const T* x, const T* gain, const T* bias, float eps, T* y,
                                 float* mean, float* rstd) {
  using Row = HeldRow<T, held>;
  const Index r = Index{blockIdx.x} * norm_warps + threadIdx.x / warp_size;
  if (r >= rows) return;
  const auto row = Row::load(true, n, x + r * n), gains = Row::load(true, n, gain),
             biases = Row::load(bias != nullptr, n, bias);
  float m = 0;
  if (mean != nullptr) {
    float sum = 0;
    Row::each(n, [&](int k, int j) { sum += row(k, j); });
    m = warp_reduce(sum, Sum{}) / static_cast<float>(n);
  }
  float square = 0;
  Row::each(n, [&](int k, int j) { square += (row(k, j) - m) * (row(k, j) - m); });
  square = warp_reduce(square, Sum{});
  const float s = 1 / std::sqrt(square / static_cast<float>(n) + eps);
  Row::write(n, y + r * n, [&](int k, int j) { return (row(k, j) - m) * s * gains(k, j) + biases(k, j); });
  if (threadIdx.x % warp_size == 0) {
    if (mean != nullptr) mean[r] = m;
    rstd[r] = s;
  }
}

/// The gradient of held_norm_kernel's input.
template <class T, int held>
__global__ void held_norm_backward_kernel(bool add, Index rows, int n, const T* x, const T* gain,
                                          const float* mean, const float* rstd, const T* dy, T* dx) {
  using Row = HeldRow<T, held>;
  const Index r = Index{blockIdx.x} * norm_warps + threadIdx.x / warp_size;
  if (r >= rows) return;
  const auto row = Row::load(true, n, x + r * n), d = Row::load(true, n, dy + r * n),
             gains = Row::load(true, n, gain), before = Row::load(add, n, dx + r * n);
  const float m = mean != nullptr ? mean[r] : 0, s = rstd[r];
  float g_sum = 0, gx_sum = 0;
  Row::each(n, [&](int k, int j) {
    const float g = d(k, j) * gains(k, j);
    g_sum += g;
    gx_sum += g * (row(k, j) - m) * s;
  });
  const float over = 1 / static_cast<float>(n);
  const float g_mean = mean != nullptr ? warp_reduce(g_sum, Sum{}) * over : 0.0f;
  const float gx_mean = warp_reduce(gx_sum, Sum{}) * over;
  Row::write(n, dx + r * n, [&](int k, int j) {
    const float normal = (row(k, j) - m) * s;
    return s * (d(k, j) * gains(k, j) - g_mean - normal * gx_mean) + before(k, j);
  });
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

[[nodiscard]] inline unsigned norm_blocks(Index rows) {
  return static_cast<unsigned>((rows + norm_warps - 1) / norm_warps);
}

/// Calls f(the constant number of vectors that a lane holds of a row of n elements; 0: it is too long to
/// hold, or not of `vectors`).
template <class T, class F>
void held_vectors(bool vectors, Index n, F f) {
  constexpr Index lanes = warp_size * Vector<T>::size;
  if (vectors && n <= 4 * lanes)
    f(std::integral_constant<int, 4>{});
  else if (vectors && n <= 8 * lanes)
    f(std::integral_constant<int, 8>{});
  else
    f(std::integral_constant<int, 0>{});
}

/// Layer norm, or RMS norm where `mean` is null.
template <class T>
void norm(Index rows, Index n, const T* x, const T* gain, const T* bias, float eps, T* y, float* mean,
          float* rstd) {
  if (rows == 0) return;
  const bool vectors = n % Vector<T>::size == 0 && aligned(x, y);
  held_vectors<T>(vectors && aligned(gain, bias), n, [&](auto held) {
    if constexpr (held > 0)
      launch(held_norm_kernel<T, held>, norm_blocks(rows), norm_warps * warp_size, 0, rows,
             static_cast<int>(n), x, gain, bias, eps, y, mean, rstd);
    else
      launch(norm_kernel<T>, norm_blocks(rows), norm_warps * warp_size, 0, vectors, rows, n, x, gain, bias,
             eps, y, mean, rstd);
  });
}

}  // namespace cuda

template <Real T>
void layer_norm(CudaDevice, Index rows, Index n, const T* x, const T* gain, const T* bias, Statistic<T> eps,
                T* y, Statistic<T>* mean, Statistic<T>* rstd) {
  cuda::norm(rows, n, x, gain, bias, eps, y, mean, rstd);
}

template <Real T>
void rms_norm(CudaDevice, Index rows, Index n, const T* x, const T* gain, Statistic<T> eps, T* y,
              Statistic<T>* rstd) {
  cuda::norm<T>(rows, n, x, gain, nullptr, eps, y, nullptr, rstd);
}

template <Real T>
void norm_backward_input(CudaDevice, Write write, Index rows, Index n, const T* x, const T* gain,
                         const Statistic<T>* mean, const Statistic<T>* rstd, const T* dy, T* dx) {
  if (rows == 0) return;
  const bool vectors = n % cuda::Vector<T>::size == 0 && cuda::aligned(dy, dx),
             add = write == Write::accumulate;
  const unsigned blocks = cuda::norm_blocks(rows), threads = cuda::norm_warps * cuda::warp_size;
  cuda::held_vectors<T>(vectors && cuda::aligned(x, gain), n, [&](auto held) {
    if constexpr (held > 0)
      cuda::launch(cuda::held_norm_backward_kernel<T, held>, blocks, threads, 0, add, rows,
                   static_cast<int>(n), x, gain, mean, rstd, dy, dx);
    else
      cuda::launch(cuda::norm_backward_kernel<T>, blocks, threads, 0, vectors, add, rows, n, x, gain, mean,
                   rstd, dy, dx);
  });
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
