#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/map.cuh"
#include "retort/kernels/cuda/norm.cuh"

/// Optimizer steps. State and weights are float: the optimizer of a bf16 model keeps its weights in float,
/// and `adamw_mixed` writes both.
namespace retort::kernels {

namespace cuda {

/// What a step multiplies by, rounded once.
struct AdamWNumbers {
  float beta1, rest1, beta2, rest2, keep, step, root, epsilon, scale;

  explicit AdamWNumbers(const AdamWStep& s)
      : beta1(static_cast<float>(s.beta1)),
        rest1(static_cast<float>(1 - s.beta1)),
        beta2(static_cast<float>(s.beta2)),
        rest2(static_cast<float>(1 - s.beta2)),
        keep(static_cast<float>(1 - s.rate * s.weight_decay)),
        step(static_cast<float>(s.rate / s.correction1)),
        root(static_cast<float>(1 / std::sqrt(s.correction2))),
        epsilon(static_cast<float>(s.epsilon)),
        scale(static_cast<float>(s.gradient_scale)) {}

  /// Moves one weight and its moments. The fused operations are named, so that no compiler chooses others:
  /// the same bits for gradients of every type.
  __device__ void move(float gradient, float& weight, float& first, float& second) const {
    const float g = gradient * scale;
    first = std::fma(beta1, first, rest1 * g);
    second = std::fma(beta2, second, rest2 * g * g);
    weight = std::fma(weight, keep, -(step * first / std::fma(std::sqrt(second), root, epsilon)));
  }
};

/// Moves weights and moments in float by gradients in T, and writes the weights in T to `narrow`, if T is not
/// float itself. A thread takes four of each: 16 bytes in float, which a warp reads without gaps.
template <class T>
__global__ void adamw_kernel(AdamWNumbers s, bool vectors, Index count, float* weight, const T* gradient,
                             float* first, float* second, T* narrow) {
  constexpr bool has_narrow = !std::is_same_v<T, float>;
  const Index thread = Index{blockIdx.x} * blockDim.x + threadIdx.x, threads = Index{gridDim.x} * blockDim.x;
  Index left = 0;  // where what the vectors leave over begins
  if (vectors) {
    using Wide = Vector<float>;
    using Narrow = Vector<T, Wide::size* static_cast<int>(sizeof(T))>;
    left = count / Wide::size * Wide::size;
    for (Index i = thread * Wide::size; i < left; i += threads * Wide::size) {
      const Narrow g = Narrow::load(gradient + i);
      Wide w = Wide::load(weight + i), m = Wide::load(first + i), v = Wide::load(second + i);
#pragma unroll
      for (int k = 0; k < Wide::size; ++k) s.move(static_cast<float>(g.at[k]), w.at[k], m.at[k], v.at[k]);
      w.store(weight + i);
      m.store(first + i);
      v.store(second + i);
      if constexpr (has_narrow) {
        Narrow rounded;
#pragma unroll
        for (int k = 0; k < Wide::size; ++k) rounded.at[k] = static_cast<T>(w.at[k]);
        rounded.store(narrow + i);
      }
    }
  }
  for (Index i = left + thread; i < count; i += threads) {
    float w = weight[i], m = first[i], v = second[i];
    s.move(static_cast<float>(gradient[i]), w, m, v);
    weight[i] = w;
    first[i] = m;
    second[i] = v;
    if constexpr (has_narrow) narrow[i] = static_cast<T>(w);
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
  using namespace cuda;
  launch(adamw_kernel<T>, blocks_for(count, 256 * Vector<float>::size), 256, 0, AdamWNumbers(s),
         aligned(weight, gradient, first, second), count, weight, gradient, first, second, nullptr);
}

template <Real T>
void adamw_mixed(CudaDevice, const AdamWStep& s, Index count, Statistic<T>* master, const T* gradient,
                 Statistic<T>* first, Statistic<T>* second, T* weight) {
  if (count == 0) return;
  using namespace cuda;
  launch(adamw_kernel<T>, blocks_for(count, 256 * Vector<float>::size), 256, 0, AdamWNumbers(s),
         aligned(master, gradient, first, second, weight), count, master, gradient, first, second, weight);
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
