#pragma once

#include <optional>
#include <string>

#include "retort/autograd/context.hpp"
#include "retort/nn/init.hpp"
#include "retort/ops/linear.hpp"

namespace retort::nn {

/// y = x w' + bias as a layer; w (out, in), bias (out) if asked for. Parameters `<name>.weight`,
/// `<name>.bias`; the weight's memory holds nothing until it is initialised or loaded, the bias is 0.
///
/// A layer is a value: a struct of parameters and layers, with `operator()(context, x...)` that builds its
/// ops on the context's tape, and `each_parameter(f)`, which calls f with each parameter in a fixed order.
template <Backend B>
struct Linear {
  Parameter<B> weight;               ///< (out, in)
  std::optional<Parameter<B>> bias;  ///< (out)

  Linear() = default;
  Linear(const std::string& name, Index in, Index out, bool with_bias) : weight(name + ".weight", {out, in}) {
    if (with_bias) {
      bias.emplace(name + ".bias", Shape{out});
      bias->decay = false;
      init_constant(*bias, 0);
    }
  }

  /// x (N, in) to (N, out).
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x) const {
    if (!bias) return linear(x, context.use(weight));
    const Variable<B> b = context.use(*bias);
    return linear(x, context.use(weight), &b);
  }

  template <class F>
  void each_parameter(F&& f) {
    f(weight);
    if (bias) f(*bias);
  }
};

}  // namespace retort::nn
