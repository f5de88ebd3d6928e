#pragma once

#include <string>

#include "retort/autograd/context.hpp"
#include "retort/nn/init.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/position_bias.hpp"
#include "retort/ops/rows.hpp"

/// Position policies: how a model knows where a token stands. What is added to the embeddings is one of
/// these; the bias of T5 and rotary embeddings (nn/rotary.hpp) act in attention.
namespace retort::nn {

/// One learned vector a position, added to the token embeddings: GPT-2; OPT, whose table begins with 2 rows
/// that belong to no position (`offset`).
template <Backend B, Index offset = 0>
struct LearnedPositions {
  static constexpr const char* policy = "learned_positions";
  Parameter<B> table;  ///< (offset + positions, width)

  LearnedPositions() = default;
  LearnedPositions(const std::string& name, Index positions, Index width)
      : table(name + ".weight", {offset + positions, width}) {}

  /// Longest sequence that has positions.
  [[nodiscard]] Index limit() const { return table.shape()[0] - offset; }

  /// Vectors (N, width) of positions (N), each in [0, limit()), else ShapeError.
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const IndexTensor<B>& positions) const {
    return take_rows(context.use(table), positions, 1, "learned_positions", offset);
  }
  /// Embeddings (N, width) with the vectors of their positions added.
  [[nodiscard]] Variable<B> add_to(Context<B>& context, const Variable<B>& embeddings,
                                   const IndexTensor<B>& positions) const {
    return add(embeddings, (*this)(context, positions));
  }
  void init(RandomKey key, double deviation) { init_normal(table, key, deviation); }
  template <class F>
  void each_parameter(F&& f) {
    f(table);
  }
};

/// Nothing is added to the embeddings: GPT-J, LLaMA.
template <Backend B>
struct NoPositions {
  static constexpr const char* policy = "no_positions";
  Index longest = 0;

  NoPositions() = default;
  NoPositions(const std::string&, Index positions, Index) : longest(positions) {}

  /// Longest sequence that the model reads.
  [[nodiscard]] Index limit() const { return longest; }
  [[nodiscard]] Variable<B> add_to(Context<B>&, const Variable<B>& embeddings, const IndexTensor<B>&) const {
    return embeddings;
  }
  void init(RandomKey, double) {}
  template <class F>
  void each_parameter(F&&) {}
};

/// T5's bias by bucket of distance, one table for all layers of a stack.
template <Backend B>
struct RelativePositions {
  static constexpr const char* policy = "relative_positions";
  Parameter<B> table;          ///< (buckets, heads)
  bool bidirectional = false;  ///< as in an encoder; a decoder looks back only
  Index max_distance = 128;    ///< from here on distances share a bucket

  RelativePositions() = default;
  RelativePositions(const std::string& name, Index buckets, Index heads, bool both_ways, Index farthest)
      : table(name + ".weight", {buckets, heads}), bidirectional(both_ways), max_distance(farthest) {
    table.decay = false;
  }

  /// The bias (heads, 2 reach - 1) by distance for sequences of up to `reach` tokens.
  [[nodiscard]] Variable<B> operator()(Context<B>& context, Index reach) const {
    return relative_position_bias(context.use(table), std::max<Index>(1, reach), bidirectional, max_distance);
  }
  template <class F>
  void each_parameter(F&& f) {
    f(table);
  }
};

}  // namespace retort::nn
