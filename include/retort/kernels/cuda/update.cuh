#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/map.cuh"
#include "retort/kernels/cuda/norm.cuh"

/// Optimizer steps. State and weights are float: an optimizer of a bf16 model keeps the weights in float
/// itself.
namespace retort::kernels {

namespace cuda {

/// What a step multiplies by, rounded once.
struct AdamWNumbers {
  float beta1, rest1, beta2, rest2, keep, step, root, epsilon, scale;
};

template <class T>
__global__ void adamw_kernel(AdamWNumbers s, Index count, T* weight, const T* gradient, T* first, T* second) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    const float g = gradient[i] * s.scale;
    const float m = s.beta1 * first[i] + s.rest1 * g;
    const float v = s.beta2 * second[i] + s.rest2 * g * g;
    first[i] = m;
    second[i] = v;
    weight[i] = weight[i] * s.keep - s.step * m / (std::sqrt(v) * s.root + s.epsilon);
  }
}

template <class T>
__global__ void sgd_kernel(float rate, float momentum, float decay, float scale, bool nesterov, Index count,
                           T* weight, const T* gradient, T* velocity) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    const float w = weight[i], g = decay * w + gradient[i] * scale, v = momentum * velocity[i] + g;
    velocity[i] = v;
    weight[i] = w - rate * (nesterov ? momentum * v + g : v);
  }
}

/// Moves row_moment[r] towards the mean of g^2 + epsilon1 over row r: a block a row.
template <class T>
__global__ void row_moment_kernel(float scale, float epsilon, double beta, Index columns, const T* gradient,
                                  T* row_moment) {
  RETORT_SHARED(double, place, 32);
  const T* g = gradient + Index{blockIdx.x} * columns;
  double sum = 0;
  for (Index i = threadIdx.x; i < columns; i += blockDim.x) {
    const float x = g[i] * scale;
    sum += static_cast<double>(x * x + epsilon);
  }
  sum = block_reduce(sum, Sum{}, place) / static_cast<double>(columns);
  if (threadIdx.x == 0)
    row_moment[blockIdx.x] =
        static_cast<T>(beta * static_cast<double>(row_moment[blockIdx.x]) + (1 - beta) * sum);
}

/// The same over a column: a thread a column.
template <class T>
__global__ void column_moment_kernel(float scale, float epsilon, double beta, Index rows, Index columns,
                                     const T* gradient, T* column_moment) {
  const Index c = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (c >= columns) return;
  double sum = 0;
  for (Index r = 0; r < rows; ++r) {
    const float x = gradient[r * columns + c] * scale;
    sum += static_cast<double>(x * x + epsilon);
  }
  column_moment[c] = static_cast<T>(beta * static_cast<double>(column_moment[c]) +
                                    (1 - beta) * sum / static_cast<double>(rows));
}

/// Factors of the update: row_factor[r] = scale sqrt(mean of rows / row[r]), column_factor[c] = 1 /
/// sqrt(column[c]). One block.
template <class T>
__global__ void factors_kernel(double scale, Index rows, Index columns, const T* row, const T* column,
                               T* row_factor, T* column_factor) {
  RETORT_SHARED(double, place, 32);
  double mean = 0;
  for (Index r = threadIdx.x; r < rows; r += blockDim.x) mean += static_cast<double>(row[r]);
  mean = block_reduce(mean, Sum{}, place) / static_cast<double>(rows);
  for (Index r = threadIdx.x; r < rows; r += blockDim.x)
    row_factor[r] = static_cast<T>(scale * std::sqrt(mean / static_cast<double>(row[r])));
  for (Index c = threadIdx.x; c < columns; c += blockDim.x)
    column_factor[c] = static_cast<T>(1 / std::sqrt(static_cast<double>(column[c])));
}

template <class T>
__global__ void factored_update_kernel(Index count, Index rows, Index columns, const T* gradient,
                                       const T* row_factor, const T* column_factor, T* u) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    const Index r = i / columns;
    u[i] = gradient[i] * row_factor[r] * column_factor[r / rows * columns + i % columns];
  }
}

template <class T>
__global__ void whole_update_kernel(float scale, float epsilon, float beta, float rest, Index count,
                                    const T* gradient, T* second, T* u) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    const float g = gradient[i] * scale, v = beta * second[i] + rest * (g * g + epsilon);
    second[i] = v;
    u[i] = g / std::sqrt(v);
  }
}

template <class T>
__global__ void adafactor_apply_kernel(Index count, float step, float keep, float beta1, float rest1,
                                       const T* u, T* first, T* weight) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    float change = step * u[i];
    if (first != nullptr) first[i] = change = beta1 * first[i] + rest1 * change;
    weight[i] = weight[i] * keep - change;
  }
}

/// The rest of a step once the update u (count) is known.
template <class T>
void adafactor_apply(CudaDevice device, const AdafactorStep& s, Index count, T* weight, T* first,
                     const T* u) {
  const auto n = static_cast<double>(count);
  const auto squares = squared_norms<T>(device, {{u, count}, {weight, s.scale_parameter ? count : 0}});
  const double rate = s.scale_parameter ? s.rate * std::max(s.epsilon2, std::sqrt(squares[1] / n)) : s.rate;
  const double rms = std::sqrt(squares[0] / n);
  launch(adafactor_apply_kernel<T>, blocks_for(count, 1024), 256, 0, count,
         static_cast<float>(rate / std::max(1.0, rms / s.clip_threshold)),
         static_cast<float>(1 - rate * s.weight_decay), static_cast<float>(s.beta1),
         static_cast<float>(1 - s.beta1), u, first, weight);
}

}  // namespace cuda

template <Real T>
void adamw(CudaDevice, const AdamWStep& s, Index count, T* weight, const T* gradient, T* first, T* second) {
  if (count == 0) return;
  const auto f = [](double x) { return static_cast<float>(x); };
  const cuda::AdamWNumbers numbers{f(s.beta1),
                                   f(1 - s.beta1),
                                   f(s.beta2),
                                   f(1 - s.beta2),
                                   f(1 - s.rate * s.weight_decay),
                                   f(s.rate / s.correction1),
                                   f(1 / std::sqrt(s.correction2)),
                                   f(s.epsilon),
                                   f(s.gradient_scale)};
  cuda::launch(cuda::adamw_kernel<T>, cuda::blocks_for(count, 1024), 256, 0, numbers, count, weight, gradient,
               first, second);
}

template <Real T>
void sgd(CudaDevice, const SgdStep& s, Index count, T* weight, const T* gradient, T* velocity) {
  if (count == 0) return;
  cuda::launch(cuda::sgd_kernel<T>, cuda::blocks_for(count, 1024), 256, 0, static_cast<float>(s.rate),
               static_cast<float>(s.momentum), static_cast<float>(s.weight_decay),
               static_cast<float>(s.gradient_scale), s.nesterov, count, weight, gradient, velocity);
}

template <Real T>
void adafactor_factored(CudaDevice device, const AdafactorStep& s, Index matrices, Index rows, Index columns,
                        T* weight, const T* gradient, T* row_moment, T* column_moment, T* first) {
  using namespace cuda;
  const Index all_rows = matrices * rows, all_columns = matrices * columns, count = all_rows * columns;
  if (count == 0) return;
  const Scratch factors(static_cast<std::size_t>(all_rows + all_columns) * sizeof(T));
  const Scratch update(static_cast<std::size_t>(count) * sizeof(T));
  T *row_factor = factors.as<T>(), *column_factor = row_factor + all_rows, *u = update.as<T>();
  const float scale = static_cast<float>(s.gradient_scale), epsilon = static_cast<float>(s.epsilon1);
  launch(row_moment_kernel<T>, static_cast<unsigned>(all_rows), 128, 0, scale, epsilon, s.beta2, columns,
         gradient, row_moment);
  for (Index m = 0; m < matrices; ++m) {
    launch(column_moment_kernel<T>, static_cast<unsigned>((columns + 63) / 64), 64, 0, scale, epsilon,
           s.beta2, rows, columns, gradient + m * rows * columns, column_moment + m * columns);
    launch(factors_kernel<T>, 1, 256, 0, s.gradient_scale, rows, columns,
           static_cast<const T*>(row_moment + m * rows), static_cast<const T*>(column_moment + m * columns),
           row_factor + m * rows, column_factor + m * columns);
  }
  launch(factored_update_kernel<T>, blocks_for(count, 1024), 256, 0, count, rows, columns, gradient,
         static_cast<const T*>(row_factor), static_cast<const T*>(column_factor), u);
  adafactor_apply<T>(device, s, count, weight, first, u);
}

template <Real T>
void adafactor_whole(CudaDevice device, const AdafactorStep& s, Index count, T* weight, const T* gradient,
                     T* second, T* first) {
  using namespace cuda;
  if (count == 0) return;
  const Scratch update(static_cast<std::size_t>(count) * sizeof(T));
  launch(whole_update_kernel<T>, blocks_for(count, 1024), 256, 0, static_cast<float>(s.gradient_scale),
         static_cast<float>(s.epsilon1), static_cast<float>(s.beta2), static_cast<float>(1 - s.beta2), count,
         gradient, second, update.as<T>());
  adafactor_apply<T>(device, s, count, weight, first, update.as<T>());
}

}  // namespace retort::kernels
