#pragma once

#include <string>

#include "retort/autograd/context.hpp"
#include "retort/nn/init.hpp"
#include "retort/ops/dropout.hpp"
#include "retort/ops/low_rank.hpp"

namespace retort::nn {

/// What LoRA (Hu et al. 2021) adds to some rows of a linear layer: scale * (b a) x. Models get theirs from
/// `add_lora` (models/lora.hpp).
template <Backend B>
struct LowRank {
  Parameter<B> a;       ///< (rank, in), `<layer>.lora_a`
  Parameter<B> b;       ///< (rows, rank), `<layer>.lora_b`
  Index first_row = 0;  ///< of the layer's rows
  double scale = 1;     ///< alpha / rank
  double dropout = 0;   ///< of its input, while training

  LowRank() = default;
  /// Does nothing yet, as in the paper: a is uniform in +-1/sqrt(in) (He et al. 2015 with slope sqrt 5, as
  /// PEFT draws it) by `key` and its name, b is 0.
  LowRank(const std::string& name, Index first, Index rows, Index in, Index rank, double scale_by,
          double dropout_by, RandomKey key)
      : a(name + ".lora_a", {rank, in}),
        b(name + ".lora_b", {rows, rank}),
        first_row(first),
        scale(scale_by),
        dropout(dropout_by) {
    using S = StatisticOf<B>;
    const S bound = static_cast<S>(1 / std::sqrt(static_cast<double>(in)));
    kernels::fill_uniform(typename B::Device{}, key_for(key, a.name), a.value.size(), -bound, bound,
                          a.value.data());
    init_constant(b, 0);
  }

  /// Rows of the layer that it changes, from `first_row` on.
  [[nodiscard]] Index rows() const { return b.shape()[0]; }

  /// y (N, out), the layer's output, with its part added; x (N, in) is the layer's input.
  [[nodiscard]] Variable<B> add_to(Context<B>& context, const Variable<B>& y, const Variable<B>& x) const {
    return add_low_rank(y, retort::dropout(context, x, dropout), context.use(a), context.use(b), scale,
                        first_row);
  }

  /// Adds it to the layer's weight (out, in), for good.
  void merge_into(TensorOf<B>& weight) const {
    using T = typename B::Scalar;
    const Index in = a.shape()[1], rank = a.shape()[0];
    kernels::gemm(typename B::Device{}, kernels::Op::none, kernels::Op::none, rows(), in, rank,
                  static_cast<StatisticOf<B>>(scale), b.value.data(), rank, a.value.data(), in, T(1),
                  weight.data() + first_row * in, in);
  }
};

}  // namespace retort::nn
