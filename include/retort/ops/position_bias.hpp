#pragma once

#include <cmath>

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/gather.hpp"

/// T5's relative positions (Raffel et al. 2020, section 2.1): a learned bias for each head and bucket of
/// distances.
namespace retort {

/// Bucket of the distance key position - query position: half of the buckets are exact, the other half grows
/// logarithmically up to `max_distance`. Bidirectional: one half of the buckets for keys after the query, one
/// for those before. Causal: keys after the query share bucket 0. The same numbers as T5's reference
/// implementation.
[[nodiscard]] inline Index relative_position_bucket(Index distance, bool bidirectional, Index buckets,
                                                    Index max_distance) {
  Index offset = 0, n = -distance;
  if (bidirectional) {
    buckets /= 2;
    if (n < 0) {
      offset = buckets;
      n = -n;
    }
  } else {
    n = std::max<Index>(n, 0);
  }
  const Index exact = buckets / 2;
  if (n < exact) return offset + n;
  // float, as the reference computes it: the bucket borders depend on it
  const float grown =
      std::log(static_cast<float>(n) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact))) *
      static_cast<float>(buckets - exact);
  return offset + std::min(buckets - 1, exact + static_cast<Index>(grown));
}

/// The bias by distance, (heads, 2 reach - 1), from a table (buckets, heads): column d + reach - 1 is the
/// bias for distance d = key position - query position. What `attention` takes. Throws ShapeError for
/// another rank and a reach below 1, ValueError for buckets that cannot be told apart.
template <Backend B>
[[nodiscard]] Variable<B> relative_position_bias(const Variable<B>& table, Index reach, bool bidirectional,
                                                 Index max_distance) {
  if (table.value().rank() != 2 || reach < 1)
    fail<ShapeError>("relative_position_bias", "table {} and reach {}: expected (buckets, heads), at least 1",
                     table.shape(), reach);
  const Index buckets = table.shape()[0], heads = table.shape()[1], width = 2 * reach - 1;
  const Index exact = buckets / (bidirectional ? 4 : 2);
  if (exact < 1 || max_distance <= exact)
    fail<ValueError>(
        "relative_position_bias",
        "{} buckets and a largest distance of {}: expected at least {} buckets and a distance above {}",
        buckets, max_distance, bidirectional ? 4 : 2, exact);
  std::vector<std::int32_t> bucket(static_cast<std::size_t>(width));
  for (Index c = 0; c < width; ++c)
    bucket[static_cast<std::size_t>(c)] = static_cast<std::int32_t>(
        relative_position_bucket(c - (reach - 1), bidirectional, buckets, max_distance));
  const auto rows = IndexTensor<B>::from({width}, bucket);
  TensorOf<B> y({heads, width});
  kernels::take_transposed(typename B::Device{}, width, heads, table.data(), rows.data(), y.data());
  return record(
      "relative_position_bias", y,
      [=](const TensorOf<B>& dy) {
        if (auto dt = zeroed_gradient_target(table))
          kernels::scatter_add_transposed(typename B::Device{}, width, heads, buckets, dy.data(), rows.data(),
                                          dt.data);
      },
      table);
}

}  // namespace retort
