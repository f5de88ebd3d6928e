#pragma once

#include <algorithm>

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/row.cuh"

/// The one driver of every divergence, a block a row, see kernels/cpu/row_loss.hpp: three readings of both
/// rows, one writing.
namespace retort::kernels {

namespace cuda {

template <class T>
__device__ void clear_row(T* x, Index begin, Index end) {
#pragma unroll 1
  for (Index i = begin + threadIdx.x; i < end; i += blockDim.x) x[i] = T(0.0f);
}

template <class T, class Divergence>
__global__ void row_loss_kernel(Divergence divergence, RowLossShape shape, bool vectors, T* student,
                                const T* teacher, const float* weight, double* loss, TokenSlopes<T> slopes) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const Index r = blockIdx.x, vs = shape.student_vocabulary, vt = shape.teacher_vocabulary;
  const Index common = vs < vt ? vs : vt;
  T* zs = student + r * row_stride(shape.student_stride, vs);
  const T* zt = teacher + r * row_stride(shape.teacher_stride, vt);
  const float inverse = static_cast<float>(1 / shape.temperature), w = weight[r];
  const float slope = shape.gradient && slopes.slope != nullptr ? slopes.slope[r] : 0.0f;
  if (w == 0 && slope == 0) {
    if (threadIdx.x == 0) loss[r] = 0;
    if (shape.gradient) clear_row(zs, 0, vs);
    return;
  }
  LogNormaliser log_q{}, log_p{}, log_all{};
  float total = 0;
  if (w != 0) {
    log_q = log_normaliser(vectors, zs, common, inverse, place, place_float);
    log_p = log_normaliser(vectors, zt, common, inverse, place, place_float);
    Accumulator sum, pulled;
    for_block_rows(vectors, common, zs, zt, [&](Index, float z, float t) {
      const float lp = log_p(t), lq = log_q(z);
      sum.add(divergence.term(lp, lq));
      pulled.add(divergence.pull(lp, lq));
    });
    const double d = block_reduce(sum.value(), Sum{}, place);
    total = static_cast<float>(block_reduce(pulled.value(), Sum{}, place));
    if (threadIdx.x == 0) loss[r] = d;
  } else if (threadIdx.x == 0) {
    loss[r] = 0;
  }
  if (!shape.gradient) return;
  if (slope != 0) log_all = log_normaliser(vectors, zs, vs, 1.0f, place, place_float);
  const std::int32_t token = slope != 0 ? slopes.token[r] : -1;
  const float scale = w * inverse;
  __syncthreads();  // everybody has read what is overwritten now
  const auto gradient = [&](Index i, float z, float t) {
    float g = 0;
    if (w != 0 && i < common) {
      const float lq = log_q(z);
      g = (divergence.pull(log_p(t), lq) - std::exp(lq) * total) * scale;
    }
    if (slope != 0) g += (i == token ? slope : 0.0f) - slope * std::exp(log_all(z));
    return static_cast<T>(g);
  };
  Index first = 0;  // what the vectors leave over
  if (vectors) {
    constexpr int size = Vector<T>::size;
    first = common / size * size;
    for (Index i = Index{threadIdx.x} * size; i < first; i += Index{blockDim.x} * size) {
      auto v = Vector<T>::load(zs + i);
      const auto t = Vector<T>::load(zt + i);
#pragma unroll
      for (int j = 0; j < size; ++j)
        v.at[j] = gradient(i + j, static_cast<float>(v.at[j]), static_cast<float>(t.at[j]));
      v.store(zs + i);
    }
  }
#pragma unroll 1
  for (Index i = first + threadIdx.x; i < vs; i += blockDim.x)
    zs[i] = gradient(i, static_cast<float>(zs[i]), i < common ? static_cast<float>(zt[i]) : 0.0f);
}

template <class T>
__global__ void cross_entropy_kernel(bool vectors, Index v, Index stride, T* logits,
                                     const std::int32_t* target, const float* weight, bool gradient,
                                     double* loss) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const Index r = blockIdx.x;
  T* z = logits + r * stride;
  const float w = weight[r];
  if (w == 0) {
    if (threadIdx.x == 0) loss[r] = 0;
    if (gradient) clear_row(z, 0, v);
    return;
  }
  const auto log_q = log_normaliser(vectors, z, v, 1.0f, place, place_float);
  const std::int32_t token = target[r];
  if (threadIdx.x == 0)
    loss[r] = token >= 0 && token < v ? -static_cast<double>(log_q(static_cast<float>(z[token]))) : 0;
  if (!gradient) return;
  __syncthreads();
  const auto slope = [&](Index i, float x) {
    return static_cast<T>(w * std::exp(log_q(x)) - (i == token ? w : 0.0f));
  };
  if (vectors) {
    constexpr int size = Vector<T>::size;
    const Index whole = v / size * size;
    for (Index i = Index{threadIdx.x} * size; i < whole; i += Index{blockDim.x} * size) {
      auto x = Vector<T>::load(z + i);
#pragma unroll
      for (int j = 0; j < size; ++j) x.at[j] = slope(i + j, static_cast<float>(x.at[j]));
      x.store(z + i);
    }
#pragma unroll 1
    for (Index i = whole + threadIdx.x; i < v; i += blockDim.x) z[i] = slope(i, static_cast<float>(z[i]));
  } else {
    for (Index i = threadIdx.x; i < v; i += blockDim.x) z[i] = slope(i, static_cast<float>(z[i]));
  }
}

template <class T>
__global__ void token_log_probabilities_kernel(bool vectors, Index v, Index stride, const T* logits,
                                               const std::int32_t* token, float inverse, float* out) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const T* z = logits + Index{blockIdx.x} * stride;
  const auto log_q = log_normaliser(vectors, z, v, inverse, place, place_float);
  const std::int32_t t = token[blockIdx.x];
  if (threadIdx.x == 0) out[blockIdx.x] = t >= 0 && t < v ? log_q(static_cast<float>(z[t])) : 0.0f;
}

template <class T, class F>
__global__ void row_sums_kernel(F f, Index vs, Index vt, Index stride_s, Index stride_t, const T* student,
                                const T* teacher, double* out) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const Index common = vs < vt ? vs : vt;
  const T *zs = student + Index{blockIdx.x} * stride_s, *zt = teacher + Index{blockIdx.x} * stride_t;
  const auto log_q = log_normaliser(false, zs, common, 1.0f, place, place_float);
  const auto log_p = log_normaliser(false, zt, common, 1.0f, place, place_float);
  Accumulator sums[F::count];
  for (Index i = threadIdx.x; i < common; i += blockDim.x) {
    const auto terms = f(log_p(static_cast<float>(zt[i])), log_q(static_cast<float>(zs[i])));
#pragma unroll
    for (std::size_t k = 0; k < F::count; ++k) sums[k].add(terms[k]);
  }
#pragma unroll
  for (std::size_t k = 0; k < F::count; ++k) {
    const double total = block_reduce(sums[k].value(), Sum{}, place);
    if (threadIdx.x == 0)
      out[Index{blockIdx.x} * static_cast<Index>(F::count) + static_cast<Index>(k)] = total;
  }
}

/// Whether all rows of n elements from p on can be read by 16 bytes.
template <class T>
[[nodiscard]] bool rows_aligned(const T* p, Index n) {
  return aligned(p) && n % Vector<T>::size == 0;
}

}  // namespace cuda

template <Real T, class Divergence>
void row_loss(CudaDevice, const Divergence& divergence, const RowLossShape& shape, T* student, T* teacher,
              const Statistic<T>* weight, double* loss, const TokenSlopes<T>& slopes) {
  if (shape.rows == 0) return;
  const Index vs = shape.student_vocabulary, vt = shape.teacher_vocabulary;
  const bool vectors = cuda::rows_aligned(student, row_stride(shape.student_stride, vs)) &&
                       cuda::rows_aligned(teacher, row_stride(shape.teacher_stride, vt));
  cuda::launch(cuda::row_loss_kernel<T, Divergence>, static_cast<unsigned>(shape.rows),
               cuda::threads_for_row(std::min(vs, vt)), 0, divergence, shape, vectors, student,
               static_cast<const T*>(teacher), weight, loss, slopes);
}

template <Real T>
void cross_entropy(CudaDevice, Index rows, Index vocabulary, T* logits, const std::int32_t* target,
                   const Statistic<T>* weight, bool gradient, double* loss, Index stride) {
  stride = row_stride(stride, vocabulary);
  if (rows == 0) return;
  cuda::launch(cuda::cross_entropy_kernel<T>, static_cast<unsigned>(rows), cuda::threads_for_row(vocabulary),
               0, cuda::rows_aligned(logits, stride), vocabulary, stride, logits, target, weight, gradient,
               loss);
}

template <Real T>
void token_log_probabilities(CudaDevice, Index rows, Index vocabulary, const T* logits,
                             const std::int32_t* token, double temperature, Statistic<T>* out, Index stride) {
  stride = row_stride(stride, vocabulary);
  if (rows == 0) return;
  cuda::launch(cuda::token_log_probabilities_kernel<T>, static_cast<unsigned>(rows),
               cuda::threads_for_row(vocabulary), 0, cuda::rows_aligned(logits, stride), vocabulary, stride,
               logits, token, static_cast<float>(1 / temperature), out);
}

template <Real T, class F>
void row_sums(CudaDevice, const F& f, Index rows, Index vs, Index vt, const T* student, const T* teacher,
              double* out, Index student_stride, Index teacher_stride) {
  if (rows == 0) return;
  cuda::launch(cuda::row_sums_kernel<T, F>, static_cast<unsigned>(rows),
               cuda::threads_for_row(std::min(vs, vt)), 0, f, vs, vt, row_stride(student_stride, vs),
               row_stride(teacher_stride, vt), student, teacher, out);
}

}  // namespace retort::kernels
