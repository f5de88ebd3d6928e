#pragma once

#include <string>

#include "retort/autograd/context.hpp"
#include "retort/nn/init.hpp"
#include "retort/ops/norm.hpp"

/// Norm policies: layers with `operator()(context, x)`, made from a name, a width and an epsilon. Gains begin
/// as 1, biases as 0; weight decay leaves both alone.
namespace retort::nn {

/// Layer norm with gain and bias: GPT-2, OPT, GPT-J.
template <Backend B>
struct LayerNorm {
  static constexpr const char* policy = "layer_norm";
  static constexpr double default_epsilon = 1e-5;
  Parameter<B> gain, bias;
  double epsilon = default_epsilon;

  LayerNorm() = default;
  LayerNorm(const std::string& name, Index width, double eps)
      : gain(name + ".gain", {width}), bias(name + ".bias", {width}), epsilon(eps) {
    init_constant(gain, 1);
    init_constant(bias, 0);
    gain.decay = bias.decay = false;
  }
  /// x (..., width), normalised along its last dimension.
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x) const {
    return layer_norm(x, context.use(gain), context.use(bias), epsilon);
  }
  template <class F>
  void each_parameter(F&& f) {
    f(gain);
    f(bias);
  }
};

/// RMS norm with gain: T5, LLaMA.
template <Backend B>
struct RmsNorm {
  static constexpr const char* policy = "rms_norm";
  static constexpr double default_epsilon = 1e-6;
  Parameter<B> gain;
  double epsilon = default_epsilon;

  RmsNorm() = default;
  RmsNorm(const std::string& name, Index width, double eps) : gain(name + ".gain", {width}), epsilon(eps) {
    init_constant(gain, 1);
    gain.decay = false;
  }
  /// x (..., width), normalised along its last dimension.
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x) const {
    return rms_norm(x, context.use(gain), epsilon);
  }
  template <class F>
  void each_parameter(F&& f) {
    f(gain);
  }
};

}  // namespace retort::nn
