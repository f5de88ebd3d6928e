#pragma once

#include <optional>
#include <string>
#include <vector>

#include "retort/autograd/context.hpp"
#include "retort/nn/init.hpp"
#include "retort/nn/low_rank.hpp"
#include "retort/ops/linear.hpp"

namespace retort::nn {

/// y = x w' + bias as a layer; w (out, in), bias (out) if asked for. Parameters `<name>.weight`,
/// `<name>.bias`; the weight's memory holds nothing until it is initialised or loaded, the bias is 0.
///
/// A layer is a value: a struct of parameters and layers, with `operator()(context, x...)` that builds its
/// ops on the context's tape, and `each_parameter(f)`, which calls f with each parameter in a fixed order.
/// One that holds linear layers also has `each_linear(f)`.
template <Backend B>
struct Linear {
  Parameter<B> weight;               ///< (out, in)
  std::optional<Parameter<B>> bias;  ///< (out)
  std::vector<LowRank<B>> adapters;  ///< LoRA's, usually none

  Linear() = default;
  [[gnu::noinline]] Linear(const std::string& name, Index in, Index out, bool with_bias)
      : weight(name + ".weight", {out, in}) {
    if (with_bias) {
      bias.emplace(name + ".bias", Shape{out});
      bias->decay = false;
      init_constant(*bias, 0);
    }
  }

  /// x (N, in) to (N, out).
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x) const {
    const Variable<B> b = bias ? context.use(*bias) : Variable<B>{};
    Variable<B> y = linear(x, context.use(weight), bias ? &b : nullptr);
    for (const auto& adapter : adapters) y = adapter.add_to(context, y, x);
    return y;
  }

  /// The layer's name: that of its weight without `.weight`.
  [[nodiscard]] std::string name() const { return weight.name.substr(0, weight.name.rfind('.')); }

  template <class F>
  void each_parameter(F&& f) {
    f(weight);
    if (bias) f(*bias);
    for (auto& adapter : adapters) {
      f(adapter.a);
      f(adapter.b);
    }
  }
};

}  // namespace retort::nn
