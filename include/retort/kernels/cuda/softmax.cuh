#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/row.cuh"

namespace retort::kernels {

namespace cuda {

template <class T>
__global__ void softmax_kernel(Index n, const T* x, T* y) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const T* from = x + Index{blockIdx.x} * n;
  T* to = y + Index{blockIdx.x} * n;
  const auto log_p = log_normaliser(false, from, n, 1.0f, place, place_float);
  const bool nothing = log_p.high == -std::numeric_limits<float>::infinity();
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    to[i] = static_cast<T>(nothing ? 0.0f : std::exp(log_p(static_cast<float>(from[i]))));
}

template <class T>
__global__ void log_softmax_kernel(Index n, const T* x, T* y) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const T* from = x + Index{blockIdx.x} * n;
  T* to = y + Index{blockIdx.x} * n;
  const auto log_p = log_normaliser(false, from, n, 1.0f, place, place_float);
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    to[i] = static_cast<T>(log_p(static_cast<float>(from[i])));
}

/// dx (+)= y (dy - sum y dy), or of the logarithm dy - exp(y) sum dy.
template <class T, bool logarithm>
__global__ void softmax_backward_kernel(bool add, Index n, const T* y, const T* dy, T* dx) {
  RETORT_SHARED(double, place, 32);
  const Index row = Index{blockIdx.x} * n;
  Accumulator sum;
  for (Index i = threadIdx.x; i < n; i += blockDim.x) {
    const float d = static_cast<float>(dy[row + i]);
    sum.add(logarithm ? d : d * static_cast<float>(y[row + i]));
  }
  const auto total = static_cast<float>(block_reduce(sum.value(), Sum{}, place));
  for (Index i = threadIdx.x; i < n; i += blockDim.x) {
    const float p = static_cast<float>(y[row + i]), d = static_cast<float>(dy[row + i]);
    const float value = logarithm ? d - std::exp(p) * total : p * (d - total);
    dx[row + i] = static_cast<T>(value + (add ? static_cast<float>(dx[row + i]) : 0.0f));
  }
}

}  // namespace cuda

template <Real T>
void softmax(CudaDevice, Index rows, Index n, const T* x, T* y) {
  if (rows > 0 && n > 0)
    cuda::launch(cuda::softmax_kernel<T>, static_cast<unsigned>(rows), cuda::threads_for_row(n), 0, n, x, y);
}
template <Real T>
void log_softmax(CudaDevice, Index rows, Index n, const T* x, T* y) {
  if (rows > 0 && n > 0)
    cuda::launch(cuda::log_softmax_kernel<T>, static_cast<unsigned>(rows), cuda::threads_for_row(n), 0, n, x,
                 y);
}
template <Real T>
void softmax_backward(CudaDevice, Write write, Index rows, Index n, const T* y, const T* dy, T* dx) {
  if (rows > 0 && n > 0)
    cuda::launch(cuda::softmax_backward_kernel<T, false>, static_cast<unsigned>(rows),
                 cuda::threads_for_row(n), 0, write == Write::accumulate, n, y, dy, dx);
}
template <Real T>
void log_softmax_backward(CudaDevice, Write write, Index rows, Index n, const T* y, const T* dy, T* dx) {
  if (rows > 0 && n > 0)
    cuda::launch(cuda::softmax_backward_kernel<T, true>, static_cast<unsigned>(rows),
                 cuda::threads_for_row(n), 0, write == Write::accumulate, n, y, dy, dx);
}

}  // namespace retort::kernels
