#pragma once

#include <algorithm>
#include <array>

#include "retort/core/parallel.hpp"
#include "retort/kernels/cpu/gemm_few_rows.hpp"
#include "retort/tensor/pool.hpp"
#include "retort/tensor/tensor.hpp"

/// The matrix product in tiles (Goto and van de Geijn 2008): blocks of both factors are copied into panels
/// that the innermost loop reads one after the other, and that loop keeps a tile of the result in registers.
/// A thread takes a block of the result at a time; every element adds its products in the same order whatever
/// the number of threads and wherever it stands.
namespace retort::kernels::cpu {

/// One tile of the result: C (rows, columns) = alpha A B + beta C. Number l of A's row i is at a[i][l *
/// a_step], B's row l at b + l * b_step. Rows and columns beyond `rows` and `columns` are not written; those
/// of B are read.
template <Real T, int Rows, int Vectors>
void multiply_tile(Index k, T alpha, const std::array<const T*, Rows>& a, Index a_step, const T* b,
                   Index b_step, T beta, T* c, Index ldc, Index rows, Index columns) {
  constexpr Index lanes = Pack<T>::size;
  const Index rest = columns - (Vectors - 1) * lanes;  // of the last vector
  Pack<T> sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j) {
      sum[i][j] = Pack<T>(T(0));
      if (i < rows) __builtin_prefetch(c + i * ldc + j * lanes, 1);
    }
  for (Index l = 0; l < k; ++l, b += b_step) {
    Pack<T> right[Vectors];
#pragma GCC unroll 8
    for (int j = 0; j < Vectors; ++j) right[j] = Pack<T>::load(b + j * lanes);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Pack<T> left(a[static_cast<std::size_t>(i)][l * a_step]);
#pragma GCC unroll 8
      for (int j = 0; j < Vectors; ++j) sum[i][j] = fma(left, right[j], sum[i][j]);
    }
  }
  const Pack<T> scale(alpha), keep(beta);
  const auto finish = [&](auto load, auto store) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      if (i >= rows) return;
#pragma GCC unroll 8
      for (int j = 0; j < Vectors; ++j) {
        T* const place = c + i * ldc + j * lanes;
        const Pack<T> product = scale * sum[i][j];
        if (beta == T(0))
          store(place, j, product);
        else
          store(place, j, fma(keep, load(place, j), product));
      }
    }
  };
  if (rest == lanes)
    finish([](const T* p, int) { return Pack<T>::load(p); }, [](T* p, int, Pack<T> x) { x.store(p); });
  else
    finish([&](const T* p, int j) { return j + 1 < Vectors ? Pack<T>::load(p) : Pack<T>::load(p, rest); },
           [&](T* p, int j, Pack<T> x) { j + 1 < Vectors ? x.store(p) : x.store(p, rest); });
}

/// The function for a tile of so many columns.
template <Real T>
auto tile_of(Index columns) {
  using S = GemmSizes<T>;
  return columns > 2 * S::lanes ? multiply_tile<T, S::rows, 3>
         : columns > S::lanes   ? multiply_tile<T, S::rows, 2>
                                : multiply_tile<T, S::rows, 1>;
}

/// All tiles of C (m, n) = alpha A B + beta C from packed factors of depth k.
template <Real T>
void multiply_panels(Index m, Index n, Index k, T alpha, const T* packed_a, const T* packed_b, T beta, T* c,
                     Index ldc) {
  using S = GemmSizes<T>;
  for (Index j = 0; j < n; j += S::columns) {
    const Index columns = std::min(S::columns, n - j);
    const auto tile = tile_of<T>(columns);
    for (Index i = 0; i < m; i += S::rows) {
      std::array<const T*, S::rows> a;
      for (int r = 0; r < S::rows; ++r)
        a[static_cast<std::size_t>(r)] = packed_a + i / S::panel * S::panel * k + i % S::panel + r;
      tile(k, alpha, a, S::panel, packed_b + j * k, S::columns, beta, c + i * ldc + j, ldc,
           std::min<Index>(S::rows, m - i), columns);
    }
  }
}

/// A small product, of depth k <= `small_depth`: both factors are read where they stand, but for a transposed
/// B and columns of it that do not fill a register.
template <Real T>
void multiply_small(const Product<T>& p) {
  using S = GemmSizes<T>;
  alignas(64) T packed[S::small_depth * S::columns];
  const Index row = p.op_a == Op::none ? p.lda : 1, step = p.op_a == Op::none ? 1 : p.lda;
  for (Index j = 0; j < p.n; j += S::columns) {
    const Index columns = std::min(S::columns, p.n - j);
    const bool pack = p.op_b == Op::transpose || columns % S::lanes != 0;
    if (p.op_b == Op::transpose)
      pack_columns(p.b + j * p.ldb, p.ldb, p.k, columns, S::columns, packed);
    else if (pack)
      pack_rows(p.b + j, p.ldb, p.k, columns, S::columns, packed);
    const T* const b = pack ? packed : p.b + j;
    const Index b_step = pack ? S::columns : p.ldb;
    const auto tile = tile_of<T>(columns);
    for (Index i = 0; i < p.m; i += S::rows) {
      const Index rows = std::min<Index>(S::rows, p.m - i);
      std::array<const T*, S::rows> a;
      for (int r = 0; r < S::rows; ++r)
        a[static_cast<std::size_t>(r)] = p.a + (i + std::min<Index>(r, rows - 1)) * row;
      tile(p.k, p.alpha, a, step, b, b_step, p.beta, p.c + i * p.ldc + j, p.ldc, rows, columns);
    }
  }
}

/// A large product. The smaller of A's rows and B's columns are packed once, for all threads; the other
/// factor is divided into blocks, which a thread packs and multiplies.
template <Real T>
void multiply_blocks(const Product<T>& p) {
  using S = GemmSizes<T>;
  const auto parts_of = [](Index length, Index largest) { return (length + largest - 1) / largest; };
  const double work = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  const Index threads = in_parallel() || work < 4e6 ? 1 : thread_count();
  const bool share_a = p.m <= p.n;
  const Index shared_length = share_a ? p.m : p.n, own_length = share_a ? p.n : p.m;
  const Index shared_panel = share_a ? S::panel : S::columns, own_panel = share_a ? S::columns : S::panel;

  const auto pack_a = [&](Index row, Index rows, Index first, Index k, T* to) {
    if (p.op_a == Op::none)
      pack_columns(p.a + row * p.lda + first, p.lda, k, rows, S::panel, to);
    else
      pack_rows(p.a + first * p.lda + row, p.lda, k, rows, S::panel, to);
  };
  const auto pack_b = [&](Index column, Index columns, Index first, Index k, T* to) {
    if (p.op_b == Op::none)
      pack_rows(p.b + first * p.ldb + column, p.ldb, k, columns, S::columns, to);
    else
      pack_columns(p.b + column * p.ldb + first, p.ldb, k, columns, S::columns, to);
  };
  const auto each = [&](Index count, const auto& body) {
    if (threads > 1)
      parallel_each(count, 1, body);
    else
      for (Index i = 0; i < count; ++i) body(i);
  };

  // Several blocks for every thread, and as many for each: one that is late leaves its share to the others.
  Index blocks = std::max(parts_of(own_length, S::own),
                          threads == 1 ? 1 : std::min(4 * threads, parts_of(own_length, 2 * own_panel)));
  blocks = parts_of(blocks, threads) * threads;
  const Index own = parts_of(parts_of(own_length, blocks), own_panel) * own_panel;
  blocks = parts_of(own_length, own);
  const Index depths = gemm_depths<T>(p.k), k_most = parts_of(p.k, depths);
  const auto depth_begin = [&](Index part) { return p.k * part / depths; };
  const auto room = [&](Index elements) {
    return Buffer<CpuDevice>(static_cast<std::size_t>(elements) * sizeof(T));
  };
  // What is shared is packed for several depths at once, so that threads need not meet at each.
  const Index padded = parts_of(std::min(shared_length, S::shared), shared_panel) * shared_panel;
  const Index together =
      std::clamp<Index>(S::shared_elements / (padded * std::max<Index>(1, k_most)), 1, depths);
  const Buffer<CpuDevice> shared_room = room(padded * k_most * together);
  auto* const shared = static_cast<T*>(shared_room.data());

  for (Index at = 0; at < shared_length; at += S::shared) {
    const Index length = std::min(S::shared, shared_length - at), panels = parts_of(length, shared_panel);
    for (Index group = 0; group < depths; group += together) {
      const Index parts = std::min(together, depths - group);
      const auto shared_part = [&](Index part) { return shared + (part - group) * padded * k_most; };
      each(panels * parts, [&](Index i) {
        const Index part = group + i / panels, from = i % panels * shared_panel;
        const Index count = std::min(shared_panel, length - from);
        const Index first = depth_begin(part), k = depth_begin(part + 1) - first;
        T* const to = shared_part(part) + from * k;
        share_a ? pack_a(at + from, count, first, k, to) : pack_b(at + from, count, first, k, to);
      });
      each(blocks, [&](Index block) {
        const Index from = block * own, count = std::min(own, own_length - from);
        const Buffer<CpuDevice> own_room = room(own * k_most);
        auto* const packed = static_cast<T*>(own_room.data());
        for (Index part = group; part < group + parts; ++part) {
          const Index first = depth_begin(part), k = depth_begin(part + 1) - first;
          const T beta = part == 0 ? p.beta : T(1);
          if (share_a) {
            pack_b(from, count, first, k, packed);
            multiply_panels(length, count, k, p.alpha, shared_part(part), packed, beta,
                            p.c + at * p.ldc + from, p.ldc);
          } else {
            pack_a(from, count, first, k, packed);
            multiply_panels(count, length, k, p.alpha, packed, shared_part(part), beta,
                            p.c + from * p.ldc + at, p.ldc);
          }
        }
      });
    }
  }
}

/// Any product, the way that suits its size. All ways add the products of an element in the same order, so
/// that the result of a row does not depend on how many rows there are.
template <Real T>
void multiply(const Product<T>& p) {
  using S = GemmSizes<T>;
  if (p.op_a == Op::none && p.op_b == Op::transpose && p.m <= S::few_rows && p.n * p.k >= S::large_weight)
    multiply_few_rows(p);
  else if (p.k <= S::small_depth && p.m * p.n * p.k <= S::small_product)
    multiply_small(p);
  else
    multiply_blocks(p);
}

}  // namespace retort::kernels::cpu
