#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"

namespace retort::kernels {

namespace cuda {
using namespace retort::cuda;

template <class T>
__global__ void rotary_kernel(bool add, RotaryShape s, float turn, const float* cos, const float* sin,
                              const T* x, T* y) {
  const Index r = blockIdx.x, half = s.width / 2, turned = s.heads * s.head_width;
  const T* from = x + r * s.columns;
  T* to = y + r * s.columns;
  const auto write = [&](Index i, float value) {
    to[i] = static_cast<T>(value + (add ? static_cast<float>(to[i]) : 0.0f));
  };
  for (Index i = threadIdx.x; i < s.columns; i += blockDim.x) {
    const Index head = i / s.head_width * s.head_width, at = i - head;  // within the head
    if (i >= turned || at >= s.width) {
      write(i, static_cast<float>(from[i]));
      continue;
    }
    const bool interleaved = s.layout == RotaryLayout::interleaved;
    const bool second = interleaved ? (at & 1) != 0 : at >= half;
    const Index pair = interleaved ? at / 2 : (second ? at - half : at);
    const Index other = interleaved ? (second ? i - 1 : i + 1) : (second ? i - half : i + half);
    const float a = static_cast<float>(from[i]), b = static_cast<float>(from[other]);
    const float c = cos[r * half + pair], d = turn * sin[r * half + pair];
    write(i, second ? a * c + b * d : a * c - b * d);
  }
}

}  // namespace cuda

template <Real T>
void rotary(CudaDevice, Write write, const RotaryShape& s, bool inverse, const Statistic<T>* cos,
            const Statistic<T>* sin, const T* x, T* y) {
  if (s.rows * s.columns == 0) return;
  cuda::launch(cuda::rotary_kernel<T>, static_cast<unsigned>(s.rows), 128, 0, write == Write::accumulate, s,
               inverse ? -1.0f : 1.0f, cos, sin, x, y);
}

}  // namespace retort::kernels
