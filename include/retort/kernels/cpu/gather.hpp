#pragma once

#include <cstring>
#include <numeric>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

namespace retort::kernels {

/// Throws ShapeError, `[op] what 7 is outside [0, 5)`, unless every index lies in [0, limit).
inline void require_indices(CpuDevice, const char* op, const char* what, Index count,
                            const std::int32_t* index, Index limit) {
  for (Index i = 0; i < count; ++i)
    if (index[i] < 0 || index[i] >= limit)
      fail<ShapeError>(op, "{} {} is outside [0, {})", what, index[i], limit);
}

/// y[r] = scale * x[index[r]] for rows of n elements. Indices are in range (ops check).
template <Real T>
void take_rows(CpuDevice, Index rows, Index n, const T* x, const std::int32_t* index, T scale, T* y) {
  parallel_for(rows, 16384 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* from = x + index[r] * n;
      if (scale == T(1))
        std::copy_n(from, n, y + r * n);
      else
        cpu::for_packs<T>(n, [&](Index i, Index c) {
          cpu::store(cpu::load(from + i, c) * cpu::Pack<T>(scale), y + r * n + i, c);
        });
    }
  });
}

/// y[index[r]] += scale * x[r]. Rows that share an index are added in the order of r, whatever the number of
/// threads.
template <Real T>
void scatter_add_rows(CpuDevice, Index rows, Index n, const T* x, const std::int32_t* index, T scale, T* y) {
  std::vector<Index> order(static_cast<std::size_t>(rows));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return index[a] < index[b]; });
  std::vector<Index> first;  // where a new index begins in `order`
  for (Index r = 0; r < rows; ++r)
    if (r == 0 || index[order[static_cast<std::size_t>(r)]] != index[order[static_cast<std::size_t>(r - 1)]])
      first.push_back(r);
  first.push_back(rows);
  parallel_for(static_cast<Index>(first.size()) - 1, 4096 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index g = begin; g < end; ++g)
      for (Index r = first[static_cast<std::size_t>(g)]; r < first[static_cast<std::size_t>(g + 1)]; ++r) {
        const Index row = order[static_cast<std::size_t>(r)];
        T* to = y + index[row] * n;
        const T* from = x + row * n;
        cpu::for_packs<T>(n, [&](Index i, Index c) {
          cpu::store(fma(cpu::load(from + i, c), cpu::Pack<T>(scale), cpu::load(to + i, c)), to + i, c);
        });
      }
  });
}

/// Copies `rows` rows of n elements between arrays with row strides: y[r * y_stride + i] = x[r * x_stride +
/// i].
template <Real T>
void copy_rows(CpuDevice, Index rows, Index n, const T* x, Index x_stride, T* y, Index y_stride) {
  for (Index r = 0; r < rows; ++r) std::copy_n(x + r * x_stride, n, y + r * y_stride);
}

/// Copies the rows of x (stride x_stride) that each segment of `queries` names, n elements each, to the last
/// rows of the same segment of `keys` in y (stride y_stride): new tokens into a cache.
template <Real T>
void append_rows(CpuDevice device, const Segments& queries, const Segments& keys, Index n, const T* x,
                 Index x_stride, T* y, Index y_stride) {
  for (std::size_t i = 0; i < queries.count(); ++i) {
    const Index rows = queries.length[i], first = Index{keys.begin[i]} + keys.length[i] - rows;
    copy_rows(device, rows, n, x + queries.begin[i] * x_stride, x_stride, y + first * y_stride, y_stride);
  }
}

/// y (heads, columns): y[h, c] = table[row[c], h] of a table (rows, heads).
template <Real T>
void take_transposed(CpuDevice, Index columns, Index heads, const T* table, const std::int32_t* row, T* y) {
  for (Index h = 0; h < heads; ++h)
    for (Index c = 0; c < columns; ++c) y[h * columns + c] = table[row[c] * heads + h];
}

/// d_table[row[c], h] += dy[h, c], in the order of c: the gradient of `take_transposed`.
template <Real T>
void scatter_add_transposed(CpuDevice, Index columns, Index heads, [[maybe_unused]] Index table_rows,
                            const T* dy, const std::int32_t* row, T* d_table) {
  for (Index h = 0; h < heads; ++h)
    for (Index c = 0; c < columns; ++c) d_table[row[c] * heads + h] += dy[h * columns + c];
}

// What instances.cpp compiles once for a whole program.
#define RETORT_GATHER_INSTANCES(PREFIX, T)                                                          \
  PREFIX template void take_rows<T>(CpuDevice, Index, Index, const T*, const std::int32_t*, T, T*); \
  PREFIX template void scatter_add_rows<T>(CpuDevice, Index, Index, const T*, const std::int32_t*, T, T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_GATHER_INSTANCES(extern, float)
RETORT_GATHER_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
