#pragma once

#include <optional>
#include <string>

#include "retort/autograd/context.hpp"
#include "retort/nn/init.hpp"
#include "retort/ops/linear.hpp"

namespace retort::nn {

/// y = x w' + bias as a layer; w (out, in), bias (out) if asked for.
template <Backend B>
struct Linear {
  Parameter<B> weight;
  std::optional<Parameter<B>> bias;

  Linear() = default;
  Linear(const std::string& name, Index in, Index out, bool with_bias) : weight(name + ".weight", {out, in}) {
    if (with_bias) {
      bias.emplace(name + ".bias", Shape{out});
      bias->decay = false;
      init_constant(*bias, 0);
    }
  }

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
