#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/rotary.hpp"

/// Rotary positions (Su et al. 2021, "RoFormer"): pairs of a head's columns are turned by an angle that grows
/// with the token's position, so that a product of a query and a key depends on their distance.
namespace retort {

using kernels::RotaryLayout;

/// The angles of a pass, shared by all its layers.
template <Backend B>
struct RotaryTables {
  StatisticTensor<B> cos, sin;  ///< (rows, width / 2), width columns of a head are turned
  RotaryLayout layout = RotaryLayout::halves;
};

/// The tables of rows that stand at `positions`: row r turns its pair i by positions[r] * frequencies[i].
/// Angles, cosines and sines are computed in double and rounded once.
template <Backend B>
[[nodiscard]] RotaryTables<B> rotary_tables(std::span<const double> frequencies,
                                            std::span<const std::int32_t> positions, RotaryLayout layout) {
  using S = StatisticOf<B>;
  std::vector<S> cos, sin;
  cos.reserve(positions.size() * frequencies.size());
  sin.reserve(positions.size() * frequencies.size());
  for (const auto position : positions)
    for (const double frequency : frequencies) {
      cos.push_back(static_cast<S>(std::cos(position * frequency)));
      sin.push_back(static_cast<S>(std::sin(position * frequency)));
    }
  const Shape shape{std::ssize(positions), std::ssize(frequencies)};
  return {StatisticTensor<B>::from(shape, cos), StatisticTensor<B>::from(shape, sin), layout};
}

/// x (rows, n) with its first `heads * head_width` columns taken as heads, of each of which the first columns
/// are turned by the tables (rows, width / 2); all other columns stay. Of a fused projection to queries, keys
/// and values, queries and keys are the first heads. Throws ShapeError where the sizes do not fit.
///
/// The gradient is turned back: a rotation's inverse is its transpose.
template <Backend B>
[[nodiscard]] Variable<B> rotary(const Variable<B>& x, const RotaryTables<B>& tables, Index heads,
                                 Index head_width) {
  if (x.value().rank() != 2 || heads < 0 || heads * head_width > x.shape()[1])
    fail<ShapeError>("rotary", "{} heads of {} columns of a variable of shape {}", heads, head_width,
                     x.shape());
  const Index rows = x.shape()[0];
  require_shape("rotary", "sines", tables.sin.shape(), tables.cos.shape());
  if (tables.cos.rank() != 2 || tables.cos.shape()[0] != rows || 2 * tables.cos.shape()[1] > head_width)
    fail<ShapeError>("rotary", "tables of shape {}, expected ({}, at most {})", tables.cos.shape(), rows,
                     head_width / 2);
  const kernels::RotaryShape shape{.rows = rows,
                                   .columns = x.shape()[1],
                                   .heads = heads,
                                   .head_width = head_width,
                                   .width = 2 * tables.cos.shape()[1],
                                   .layout = tables.layout};
  TensorOf<B> y(x.shape());
  const StatisticTensor<B> cos = tables.cos, sin = tables.sin;
  kernels::rotary(typename B::Device{}, Write::overwrite, shape, false, cos.data(), sin.data(), x.data(),
                  y.data());
  return record(
      "rotary", y,
      [x, shape, cos, sin](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x))
          kernels::rotary(typename B::Device{}, dx.write, shape, true, cos.data(), sin.data(), dy.data(),
                          dx.data);
      },
      x);
}

}  // namespace retort
