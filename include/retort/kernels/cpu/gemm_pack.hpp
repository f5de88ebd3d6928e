#pragma once

#include <algorithm>

#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/pack.hpp"

/// What all ways to compute a product share: its description, the sizes of their blocks, and the copying of
/// factors into panels.
namespace retort::kernels::cpu {

/// A product: C (m, n) = alpha op_a(A) op_b(B) + beta C, see `gemm`.
template <Real T>
struct Product {
  Op op_a, op_b;
  Index m, n, k;
  T alpha;
  const T* a;
  Index lda;
  const T* b;
  Index ldb;
  T beta;
  T* c;
  Index ldc;
};

/// Sizes of the tile in registers, and of what is packed at a time (elements).
template <Real T>
struct GemmSizes {
  static constexpr Index lanes = Pack<T>::size;
#if defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int rows = 8;  // 8 x 3 registers of sums, 3 of B, one of A: 28 of 32
#else
  static constexpr int rows = 4;  // 4 x 3, 3 and 1: 16 of 16
#endif
  static constexpr int vectors = 3;
  static constexpr Index columns = vectors * lanes;
  static constexpr Index panel = std::max<Index>(lanes, rows);  // rows of A that are packed side by side
  static constexpr Index depth = 384;    // terms that are added before a result goes to memory
  static constexpr Index shared = 1024;  // rows or columns that all threads read
  static constexpr Index shared_elements = Index{1} << 20;  // of those, packed at a time
  static constexpr Index own = 384;                         // columns or rows that a thread packs at a time
  static constexpr Index few_rows = 16, large_weight = 128 * 1024;  // for which B is not worth packing
  static constexpr Index small_depth = 256, small_product = 80 * 80 * 80;
};

/// Parts of a sum of k terms, of `GemmSizes::depth` at most: each is added up in registers, then to the
/// result. Part i begins at term k i / parts.
template <Real T>
[[nodiscard]] Index gemm_depths(Index k) {
  return std::max<Index>(1, (k + GemmSizes<T>::depth - 1) / GemmSizes<T>::depth);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"
/// As many registers as one has lanes, for Eigen's ptranspose.
template <Real T>
using Square = Eigen::internal::PacketBlock<typename Pack<T>::Packet, Pack<T>::size>;
#pragma GCC diagnostic pop

/// Copies `count` columns of k numbers into panels of `width` columns: number l of column j goes to panel j /
/// width, place l * width + j % width. It comes from from[l * ld + j]. Columns that are missing in the last
/// panel are 0.
template <Real T>
void pack_rows(const T* from, Index ld, Index k, Index count, Index width, T* to) {
  for (Index l = 0; l < k; ++l, from += ld)
    for (Index j = 0; j < count; j += width) {
      T* const place = to + j * k + l * width;
      for (Index i = 0; i < width; i += Pack<T>::size) {
        const Index rest = count - j - i;
        if (rest >= Pack<T>::size)
          Pack<T>::load(from + j + i).store(place + i);
        else
          Pack<T>::load(from + j + i, std::max<Index>(0, rest)).store(place + i);
      }
    }
}

/// The same from from[j * ld + l]: squares of a register's width are transposed.
template <Real T>
void pack_columns(const T* from, Index ld, Index k, Index count, Index width, T* to) {
  constexpr Index lanes = Pack<T>::size;
  Square<T> square;
  for (Index j = 0; j < (count + width - 1) / width * width; j += lanes) {
    T* const place = to + j / width * width * k + j % width;
    for (Index l = 0; l < k; l += lanes) {
      const Index rest = std::min(lanes, k - l);
      for (Index i = 0; i < lanes; ++i) {
        const T* const column = from + (j + i) * ld + l;
        square.packet[i] = j + i >= count  ? Pack<T>(T(0)).v
                           : rest == lanes ? Pack<T>::load(column).v
                                           : Pack<T>::load(column, rest).v;
      }
      Eigen::internal::ptranspose(square);
      for (Index i = 0; i < rest; ++i) Pack<T>(square.packet[i]).store(place + (l + i) * width);
    }
  }
}

}  // namespace retort::kernels::cpu
