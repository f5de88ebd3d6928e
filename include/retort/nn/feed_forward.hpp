#pragma once

#include <string>

#include "retort/nn/linear.hpp"
#include "retort/ops/activation.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/dropout.hpp"
#include "retort/ops/gelu_mlp.hpp"

/// Feed-forward policies: layers from width to width through a hidden width, made from a name, both widths
/// and whether there are biases. `operator()(context, x, p)` takes x (N, width) to (N, width) with dropout p
/// on the hidden layer; `init(key, up_deviation, down_deviation)` draws the weights into and out of the
/// hidden layer from N(0, deviation^2).
namespace retort::nn {

/// down(act(up(x))): GPT-2 (GeluTanh, biases), T5 v1.0 (Relu, none).
template <Backend B, class Act>
struct Mlp {
  static_assert(Activation<Act>, "Mlp: an activation needs value(x) and slope(x), its derivative");
  static constexpr const char* policy = "mlp";
  Linear<B> up, down;  ///< width -> hidden -> width

  Mlp() = default;
  Mlp(const std::string& name, Index width, Index hidden, bool bias)
      : up(name + ".up", width, hidden, bias), down(name + ".down", hidden, width, bias) {}

  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x, double p) const {
    if constexpr (std::same_as<Act, GeluTanh>) {
      const Shape &to = up.weight.shape(), &from = down.weight.shape();
      const bool plain = up.bias && down.bias && up.adapters.empty() && down.adapters.empty();
      if (plain && (p == 0 || !context.training) && gelu_mlp_is_fused<B>(to[1], to[0], from[0]))
        return gelu_mlp(x, context.use(up.weight), context.use(*up.bias), context.use(down.weight),
                        context.use(*down.bias));
    }
    return down(context, dropout(context, activate(Act{}, up(context, x)), p));
  }
  void init(RandomKey key, double up_deviation, double down_deviation) {
    init_normal(up.weight, key, up_deviation);
    init_normal(down.weight, key, down_deviation);
  }
  template <class F>
  void each_parameter(F&& f) {
    up.each_parameter(f);
    down.each_parameter(f);
  }
  template <class F>
  void each_linear(F&& f) {
    f(up);
    f(down);
  }
};

/// down(act(gate(x)) * up(x)) (Shazeer 2020): T5 v1.1 and FLAN-T5 (GeluTanh), LLaMA (Silu).
template <Backend B, class Act>
struct GatedMlp {
  static_assert(Activation<Act>, "GatedMlp: an activation needs value(x) and slope(x), its derivative");
  static constexpr const char* policy = "gated_mlp";
  Linear<B> gate, up, down;  ///< width -> hidden twice, hidden -> width

  GatedMlp() = default;
  GatedMlp(const std::string& name, Index width, Index hidden, bool bias)
      : gate(name + ".gate", width, hidden, bias),
        up(name + ".up", width, hidden, bias),
        down(name + ".down", hidden, width, bias) {}

  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x, double p) const {
    return down(context, dropout(context, gated(Act{}, gate(context, x), up(context, x)), p));
  }
  void init(RandomKey key, double up_deviation, double down_deviation) {
    init_normal(gate.weight, key, up_deviation);
    init_normal(up.weight, key, up_deviation);
    init_normal(down.weight, key, down_deviation);
  }
  template <class F>
  void each_parameter(F&& f) {
    gate.each_parameter(f);
    up.each_parameter(f);
    down.each_parameter(f);
  }
  template <class F>
  void each_linear(F&& f) {
    f(gate);
    f(up);
    f(down);
  }
};

}  // namespace retort::nn
