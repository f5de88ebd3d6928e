#pragma once

#include <algorithm>

#include "retort/kernels/contract.hpp"
#include "retort/tensor/device.hpp"

#if defined(RETORT_GEMM_CBLAS)
#include <cblas.h>
#elif defined(RETORT_GEMM_EIGEN)
#include "retort/kernels/cpu/eigen.hpp"
#else
#include "retort/kernels/cpu/gemm_tiles.hpp"
#endif

namespace retort::kernels {

/// C (m, n) = alpha op_a(A) op_b(B) + beta C, row-major with leading dimensions lda, ldb, ldc; op(A) is (m,
/// k) and op(B) is (k, n). beta = 0 never reads C. The one place where matrix products are computed on the
/// CPU: by gemm_tiles.hpp, or by a BLAS (RETORT_GEMM_CBLAS) or Eigen (RETORT_GEMM_EIGEN) if the build asks
/// for it.
template <Real T>
void gemm(CpuDevice, Op op_a, Op op_b, Index m, Index n, Index k, T alpha, const T* a, Index lda, const T* b,
          Index ldb, T beta, T* c, Index ldc) {
  if (m == 0 || n == 0) return;
#if defined(RETORT_GEMM_CBLAS)
  const auto transposition = [](Op op) { return op == Op::none ? CblasNoTrans : CblasTrans; };
  const auto i = [](Index x) { return static_cast<blasint>(x); };
  const Index lda1 = std::max<Index>(1, lda), ldb1 = std::max<Index>(1, ldb);
  if constexpr (std::is_same_v<T, float>)
    cblas_sgemm(CblasRowMajor, transposition(op_a), transposition(op_b), i(m), i(n), i(k), alpha, a, i(lda1),
                b, i(ldb1), beta, c, i(ldc));
  else
    cblas_dgemm(CblasRowMajor, transposition(op_a), transposition(op_b), i(m), i(n), i(k), alpha, a, i(lda1),
                b, i(ldb1), beta, c, i(ldc));
#elif defined(RETORT_GEMM_EIGEN)
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Stride = Eigen::OuterStride<>;
  const bool ta = op_a == Op::transpose, tb = op_b == Op::transpose;
  const Eigen::Map<const Matrix, 0, Stride> ma(a, ta ? k : m, ta ? m : k, Stride(lda));
  const Eigen::Map<const Matrix, 0, Stride> mb(b, tb ? n : k, tb ? k : n, Stride(ldb));
  Eigen::Map<Matrix, 0, Stride> mc(c, m, n, Stride(ldc));
  if (beta == T(0))
    mc.setZero();
  else if (beta != T(1))
    mc *= beta;
  if (k == 0) return;
  if (!ta && !tb) mc.noalias() += alpha * ma * mb;
  if (!ta && tb) mc.noalias() += alpha * ma * mb.transpose();
  if (ta && !tb) mc.noalias() += alpha * ma.transpose() * mb;
  if (ta && tb) mc.noalias() += alpha * ma.transpose() * mb.transpose();
#else
  cpu::multiply(cpu::Product<T>{op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc});
#endif
}

/// `gemm` of `batch` products; the operands of one begin stride elements after those of the one before.
template <Real T>
void gemm_batched(CpuDevice device, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, T alpha,
                  const T* a, Index lda, Index stride_a, const T* b, Index ldb, Index stride_b, T beta, T* c,
                  Index ldc, Index stride_c) {
  for (Index i = 0; i < batch; ++i)
    gemm(device, op_a, op_b, m, n, k, alpha, a + i * stride_a, lda, b + i * stride_b, ldb, beta,
         c + i * stride_c, ldc);
}

// What instances.cpp compiles once for a whole program.
#define RETORT_GEMM_INSTANCES(PREFIX, T)                                                                    \
  PREFIX template void gemm<T>(CpuDevice, Op, Op, Index, Index, Index, T, const T*, Index, const T*, Index, \
                               T, T*, Index);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_GEMM_INSTANCES(extern, float)
RETORT_GEMM_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
