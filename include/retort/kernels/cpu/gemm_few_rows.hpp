#pragma once

#include <algorithm>
#include <array>

#include "retort/core/parallel.hpp"
#include "retort/kernels/cpu/gemm_pack.hpp"

/// Products of few rows with a transposed B, as in decoding: B, the weight, is read once and never written to
/// panels, but turned in registers, a square at a time. Every element adds its products in the order that the
/// tiles of gemm_tiles.hpp add them in, so that a row's result does not depend on how many rows there are.
namespace retort::kernels::cpu {

/// The terms l in [first, last) of C (Rows, lanes) for `columns` <= lanes rows of B: C = alpha sum + beta C.
template <Real T, int Rows>
void multiply_columns(Index first, Index last, T alpha, const T* a, Index lda, const T* b, Index ldb, T beta,
                      T* c, Index ldc, Index columns) {
  constexpr Index lanes = Pack<T>::size, ahead = 4;  // registers
  std::array<Pack<T>, Rows> sum;
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) sum[static_cast<std::size_t>(i)] = Pack<T>(T(0));
  std::array<const T*, static_cast<std::size_t>(lanes)> right;
  for (Index j = 0; j < lanes; ++j) right[static_cast<std::size_t>(j)] = b + std::min(j, columns - 1) * ldb;
  Square<T> square;
  Index l = first;
  for (; l + lanes <= last; l += lanes) {
#pragma GCC unroll 16
    for (Index j = 0; j < lanes; ++j) {
      const T* const from = right[static_cast<std::size_t>(j)] + l;
      square.packet[j] = Pack<T>::load(from).v;
      __builtin_prefetch(from + ahead * lanes);
    }
    Eigen::internal::ptranspose(square);
#pragma GCC unroll 16
    for (Index t = 0; t < lanes; ++t)
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        auto& s = sum[static_cast<std::size_t>(i)];
        s = fma(Pack<T>(a[i * lda + l + t]), Pack<T>(square.packet[t]), s);
      }
  }
  if (l < last) {
    for (Index j = 0; j < lanes; ++j)
      square.packet[j] = Pack<T>::load(right[static_cast<std::size_t>(j)] + l, last - l).v;
    Eigen::internal::ptranspose(square);
    for (Index t = 0; t < last - l; ++t)
      for (int i = 0; i < Rows; ++i) {
        auto& s = sum[static_cast<std::size_t>(i)];
        s = fma(Pack<T>(a[i * lda + l + t]), Pack<T>(square.packet[t]), s);
      }
  }
  const Pack<T> scale(alpha), keep(beta);
  for (int i = 0; i < Rows; ++i) {
    T* const place = c + i * ldc;
    const Pack<T> product = scale * sum[static_cast<std::size_t>(i)];
    const Pack<T> old = beta == T(0) ? product : fma(keep, Pack<T>::load(place, columns), product);
    old.store(place, columns);
  }
}

/// A product of few rows with a transposed B: every row of B is read once from memory.
template <Real T>
void multiply_few_rows(const Product<T>& p) {
  constexpr Index lanes = Pack<T>::size;
  const Index grain = std::max<Index>(1, 500'000 / (p.m * p.k * lanes + 1));
  const Index depths = gemm_depths<T>(p.k);
  parallel_for((p.n + lanes - 1) / lanes, grain, [&](Index begin, Index end) {
    for (Index j = begin * lanes; j < std::min(end * lanes, p.n); j += lanes) {
      const Index columns = std::min(lanes, p.n - j);
      for (Index part = 0; part < depths; ++part) {
        const Index first = p.k * part / depths, last = p.k * (part + 1) / depths;
        const T beta = part == 0 ? p.beta : T(1);
        for (Index i = 0; i < p.m;) {
          const auto rows = [&]<int Rows>(std::integral_constant<int, Rows>) {
            multiply_columns<T, Rows>(first, last, p.alpha, p.a + i * p.lda, p.lda, p.b + j * p.ldb, p.ldb,
                                      beta, p.c + i * p.ldc + j, p.ldc, columns);
            i += Rows;
          };
          if (p.m - i >= 8)
            rows(std::integral_constant<int, 8>{});
          else if (p.m - i >= 4)
            rows(std::integral_constant<int, 4>{});
          else if (p.m - i >= 2)
            rows(std::integral_constant<int, 2>{});
          else
            rows(std::integral_constant<int, 1>{});
        }
      }
    }
  });
}

}  // namespace retort::kernels::cpu
