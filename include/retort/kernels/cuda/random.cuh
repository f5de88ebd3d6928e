#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"

/// The random numbers of kernels/cpu/random.hpp: pure functions of key and place.
namespace retort::kernels {

namespace cuda {
using namespace retort::cuda;

template <class T>
__global__ void fill_normal_kernel(RandomKey key, Index count, float mean, float deviation, T* x) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += Index{gridDim.x} * blockDim.x)
    x[i] = static_cast<T>(mean + deviation * static_cast<float>(key.normal(static_cast<std::uint64_t>(i))));
}

template <class T>
__global__ void fill_uniform_kernel(RandomKey key, Index count, float low, float high, T* x) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += Index{gridDim.x} * blockDim.x)
    x[i] = static_cast<T>(low + (high - low) * key.template uniform<float>(static_cast<std::uint64_t>(i)));
}

template <class T>
__global__ void dropout_kernel(bool add, RandomKey key, Index count, double p, float keep, const T* x, T* y) {
  for (Index b = Index{blockIdx.x} * blockDim.x + threadIdx.x; b * 4 < count;
       b += Index{gridDim.x} * blockDim.x) {
    const auto words = key.block(static_cast<std::uint64_t>(b));
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const Index i = b * 4 + j;
      if (i >= count) break;
      const bool dropped = RandomKey::to_uniform<double>(words[static_cast<std::size_t>(j)]) < p;
      const float value = dropped ? 0.0f : static_cast<float>(x[i]) * keep;
      y[i] = static_cast<T>(value + (add ? static_cast<float>(y[i]) : 0.0f));
    }
  }
}

}  // namespace cuda

template <Real T>
void fill_normal(CudaDevice, RandomKey key, Index count, Statistic<T> mean, Statistic<T> deviation, T* x) {
  if (count > 0)
    cuda::launch(cuda::fill_normal_kernel<T>, cuda::blocks_for(count, 256), 256, 0, key, count, mean,
                 deviation, x);
}

template <Real T>
void fill_uniform(CudaDevice, RandomKey key, Index count, Statistic<T> low, Statistic<T> high, T* x) {
  if (count > 0)
    cuda::launch(cuda::fill_uniform_kernel<T>, cuda::blocks_for(count, 256), 256, 0, key, count, low, high,
                 x);
}

template <Real T>
void dropout(CudaDevice, Write write, RandomKey key, Index count, double p, const T* x, T* y) {
  if (count > 0)
    cuda::launch(cuda::dropout_kernel<T>, cuda::blocks_for(count, 1024), 256, 0, write == Write::accumulate,
                 key, count, p, static_cast<float>(1 / (1 - p)), x, y);
}

}  // namespace retort::kernels
