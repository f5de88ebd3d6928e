#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include "retort/core/parallel.hpp"
#include "retort/kernels/cpu/gemm_pack.hpp"

/// Products of few rows with a transposed B, as in decoding: dot products of rows, so that B, the weight, is
/// read once and never copied.
namespace retort::kernels::cpu {

/// Sums of the registers, each over its lanes: sum i at to[i].
template <Real T, std::size_t Count>
void sum_lanes(const std::array<Pack<T>, Count>& packs, T* to) {
  constexpr int lanes = Pack<T>::size;
  static_assert(Count % lanes == 0);
  for (std::size_t first = 0; first < Count; first += lanes) {
    Square<T> square;
    for (std::size_t i = 0; i < lanes; ++i) square.packet[i] = packs[first + i].v;
    Eigen::internal::ptranspose(square);
    for (int step = 1; step < lanes; step *= 2)
      for (int i = 0; i < lanes; i += 2 * step)
        square.packet[i] = Eigen::internal::padd(square.packet[i], square.packet[i + step]);
    Pack<T>(square.packet[0]).store(to + first);
  }
}

/// C (Rows, columns <= 16 / Rows) = alpha A B' + beta C by dot products of rows.
template <Real T, int Rows>
void multiply_dots(Index k, T alpha, const T* a, Index lda, const T* b, Index ldb, T beta, T* c, Index ldc,
                   Index columns) {
  constexpr Index lanes = Pack<T>::size;
  constexpr int across = 16 / Rows;
  std::array<Pack<T>, 16> sum;
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) sum[static_cast<std::size_t>(i)] = Pack<T>(T(0));
  std::array<const T*, across> right;
  for (int j = 0; j < across; ++j)
    right[static_cast<std::size_t>(j)] = b + std::min<Index>(j, columns - 1) * ldb;
  const auto add = [&](auto load) {
    Pack<T> left[Rows];
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) left[i] = load(a + i * lda);
#pragma GCC unroll 16
    for (int j = 0; j < across; ++j) {
      const Pack<T> x = load(right[static_cast<std::size_t>(j)]);
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i) {
        auto& s = sum[static_cast<std::size_t>(i * across + j)];
        s = fma(left[i], x, s);
      }
    }
  };
  Index l = 0;
  for (; l + lanes <= k; l += lanes) add([&](const T* p) { return Pack<T>::load(p + l); });
  if (l < k) add([&](const T* p) { return Pack<T>::load(p + l, k - l); });
  std::array<T, 16> total;
  sum_lanes<T>(sum, total.data());
  for (int i = 0; i < Rows; ++i)
    for (Index j = 0; j < columns; ++j) {
      const T product = alpha * total[static_cast<std::size_t>(i * across + j)];
      T& out = c[i * ldc + j];
      out = beta == T(0) ? product : product + beta * out;
    }
}

/// A product of few rows with a transposed B, as in decoding: every row of B is read once.
template <Real T>
void multiply_few_rows(const Product<T>& p) {
  constexpr Index together = 16;  // rows of B that stay in the first cache while the rows of A pass
  const Index grain = std::max<Index>(1, 500'000 / (p.m * p.k * together + 1));
  parallel_for((p.n + together - 1) / together, grain, [&](Index begin, Index end) {
    for (Index first = begin * together; first < std::min(end * together, p.n); first += together) {
      const Index last = std::min(first + together, p.n);
      for (Index i = 0; i < p.m;) {
        const auto rows = [&]<int Rows>(std::integral_constant<int, Rows>) {
          constexpr Index across = 16 / Rows;
          for (Index j = first; j < last; j += across)
            multiply_dots<T, Rows>(p.k, p.alpha, p.a + i * p.lda, p.lda, p.b + j * p.ldb, p.ldb, p.beta,
                                   p.c + i * p.ldc + j, p.ldc, std::min(across, last - j));
          i += Rows;
        };
        if (p.m - i >= 4)
          rows(std::integral_constant<int, 4>{});
        else if (p.m - i >= 2)
          rows(std::integral_constant<int, 2>{});
        else
          rows(std::integral_constant<int, 1>{});
      }
    }
  });
}

}  // namespace retort::kernels::cpu
