#pragma once

#include <algorithm>
#include <type_traits>

#include "retort/core/math.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/row.cuh"

/// The one driver of every divergence, a block a row, see kernels/cpu/row_loss.hpp: three readings of both
/// rows, one writing.
namespace retort::kernels {

namespace cuda {

template <class T>
__device__ void clear_row(bool vectors, Index n, T* x) {
  for_pieces<T>(vectors, n, [&](Index i, auto size) { Piece<size()>{}.store(x + i); });
}

/// What policies compute the gradients of rows of T with.
template <class T>
using PolicyNumber = std::conditional_t<std::is_same_v<T, bf16>, DeviceFloat, float>;

template <class T, class Divergence>
__global__ void __launch_bounds__(1024)
    row_loss_kernel(Divergence divergence, RowLossShape shape, bool vectors, T* student, const T* teacher,
                    const float* weight, double* loss, TokenSlopes<T> slopes) {
  using math::exp;
  using N = PolicyNumber<T>;
  RETORT_SHARED(double, place, 64);
  RETORT_SHARED(float, place_float, 64);
  const Index r = blockIdx.x, vs = shape.student_vocabulary, vt = shape.teacher_vocabulary;
  const Index common = vs < vt ? vs : vt;
  T* zs = student + r * row_stride(shape.student_stride, vs);
  const T* zt = teacher + r * row_stride(shape.teacher_stride, vt);
  const float inverse = static_cast<float>(1 / shape.temperature), w = weight[r];
  const float slope = shape.gradient && slopes.slope != nullptr ? slopes.slope[r] : 0.0f;
  if (w == 0 && slope == 0) {
    if (threadIdx.x == 0) loss[r] = 0;
    if (shape.gradient) clear_row(vectors, vs, zs);
    return;
  }
  LogNormaliser log[2]{}, log_all{};
  const LogNormaliser &log_q = log[0], &log_p = log[1];
  float total = 0;
  if (w != 0) {
    ExponentialSum part[2];
    for_pieces<T>(vectors, common, [&](Index i, auto size) {
      const auto z = Piece<size()>::load(zs + i), t = Piece<size()>::load(zt + i);
      part[0].add(z, inverse * log2_e);
      part[1].add(t, inverse * log2_e);
    });
    block_normalise(part, inverse, log, place, place_float);
    double sums[2] = {0, 0};  // of terms and of pulls
    for_pieces<T>(vectors, common, [&](Index i, auto size) {
      const auto z = Piece<size()>::load(zs + i), t = Piece<size()>::load(zt + i);
      N terms = 0, pulls = 0;
#pragma unroll
      for (int j = 0; j < size(); ++j) {
        const N lp = log_p(t.at[j]), lq = log_q(z.at[j]);
        terms += divergence.term(lp, lq);
        pulls += divergence.pull(lp, lq);
      }
      sums[0] += static_cast<double>(static_cast<float>(terms));
      sums[1] += static_cast<double>(static_cast<float>(pulls));
    });
    block_reduce_each(sums, Sum{}, place);
    total = static_cast<float>(sums[1]);
    if (threadIdx.x == 0) loss[r] = sums[0];
  } else if (threadIdx.x == 0) {
    loss[r] = 0;
  }
  if (!shape.gradient) return;
  if (slope != 0) log_all = log_normaliser(vectors, zs, vs, 1.0f, place, place_float);
  const std::int32_t token = slope != 0 ? slopes.token[r] : -1;
  const float scale = w * inverse;
  __syncthreads();  // everybody has read what is overwritten now
  const auto add_slope = [&](Index i, float z, float& g) {
    g += (i == token ? slope : 0.0f) - slope * fast_exp(log_all(z));
  };
  for_pieces<T>(vectors, common, [&](Index i, auto size) {
    const auto z = Piece<size()>::load(zs + i), t = Piece<size()>::load(zt + i);
    Piece<size()> g{};
    if (w != 0) {
#pragma unroll
      for (int j = 0; j < size(); ++j) {
        const N lp = log_p(t.at[j]), lq = log_q(z.at[j]);
        g.at[j] = static_cast<float>((divergence.pull(lp, lq) - exp(lq) * N(total)) * N(scale));
      }
    }
    if (slope != 0) {
#pragma unroll
      for (int j = 0; j < size(); ++j) add_slope(i + j, z.at[j], g.at[j]);
    }
    g.store(zs + i);
  });
#pragma unroll 1
  for (Index i = common + threadIdx.x; i < vs; i += blockDim.x) {  // tokens that the teacher does not have
    float g = 0;
    if (slope != 0) add_slope(i, static_cast<float>(zs[i]), g);
    zs[i] = static_cast<T>(g);
  }
}

template <class T>
__global__ void __launch_bounds__(1024, 2)
    cross_entropy_kernel(bool vectors, Index v, Index stride, T* logits, const std::int32_t* target,
                         const float* weight, bool gradient, double* loss) {
  RETORT_SHARED(double, place, 32);
  RETORT_SHARED(float, place_float, 32);
  const Index r = blockIdx.x;
  T* z = logits + r * stride;
  const float w = weight[r];
  if (w == 0) {
    if (threadIdx.x == 0) loss[r] = 0;
    if (gradient) clear_row(vectors, v, z);
    return;
  }
  const auto log_q = log_normaliser(vectors, z, v, 1.0f, place, place_float);
  const std::int32_t token = target[r];
  if (threadIdx.x == 0)
    loss[r] = token >= 0 && token < v ? -static_cast<double>(log_q(static_cast<float>(z[token]))) : 0;
  if (!gradient) return;
  __syncthreads();
  for_pieces<T>(vectors, v, [&](Index i, auto size) {
    auto x = Piece<size()>::load(z + i);
#pragma unroll
    for (int j = 0; j < size(); ++j) x.at[j] = w * fast_exp(log_q(x.at[j]));
    if (token >= i && token < i + size()) {
#pragma unroll
      for (int j = 0; j < size(); ++j) x.at[j] -= i + j == token ? w : 0.0f;
    }
    x.store(z + i);
  });
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
               cuda::threads_for_long_row(std::min(vs, vt)), 0, divergence, shape, vectors, student,
               static_cast<const T*>(teacher), weight, loss, slopes);
}

template <Real T>
void cross_entropy(CudaDevice, Index rows, Index vocabulary, T* logits, const std::int32_t* target,
                   const Statistic<T>* weight, bool gradient, double* loss, Index stride) {
  stride = row_stride(stride, vocabulary);
  if (rows == 0) return;
  cuda::launch(cuda::cross_entropy_kernel<T>, static_cast<unsigned>(rows),
               cuda::threads_for_long_row(vocabulary), 0, cuda::rows_aligned(logits, stride), vocabulary,
               stride, logits, target, weight, gradient, loss);
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
