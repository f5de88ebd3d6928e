#pragma once

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/gather.hpp"

/// Rows by index: token embeddings, response positions.
namespace retort {

/// y (N, n) = factor * x[first + index[r]] for x (rows, n): an embedding lookup, or a selection of positions.
/// Throws ShapeError for an index outside [0, rows - first). The gradient is added in the order of r for rows
/// that share an index.
template <Backend B>
[[nodiscard]] Variable<B> take_rows(const Variable<B>& x, const IndexTensor<B>& index, double factor = 1,
                                    const char* op = "take_rows", Index first = 0) {
  using S = StatisticOf<B>;
  if (x.value().rank() != 2 || index.rank() != 1)
    fail<ShapeError>(op, "rows of {} by index {}: expected (rows, n) and (N)", x.shape(), index.shape());
  if (first < 0 || first > x.shape()[0]) fail<ShapeError>(op, "rows of {} from row {} on", x.shape(), first);
  const Index rows = index.size(), n = x.shape()[1];
  kernels::require_indices(typename B::Device{}, op, "index", rows, index.data(), x.shape()[0] - first);
  TensorOf<B> y({rows, n});
  kernels::take_rows(typename B::Device{}, rows, n, x.data() + first * n, index.data(),
                     static_cast<S>(factor), y.data());
  return record(
      op, y,
      [x, index, factor, first, rows, n](const TensorOf<B>& dy) {
        if (auto dx = zeroed_gradient_target(x))
          kernels::scatter_add_rows(typename B::Device{}, rows, n, dy.data(), index.data(),
                                    static_cast<S>(factor), dx.data + first * n);
      },
      x);
}

/// Token embeddings (N, width) of ids (N) from a table (vocabulary, width). Throws ShapeError for an id
/// outside it.
template <Backend B>
[[nodiscard]] Variable<B> embedding(const Variable<B>& table, const IndexTensor<B>& ids) {
  return take_rows(table, ids, 1, "embedding");
}

}  // namespace retort
