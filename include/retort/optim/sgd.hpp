#pragma once

#include "retort/kernels/cpu/map.hpp"
#include "retort/kernels/cpu/update.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {

/// Stochastic gradient descent with heavy-ball momentum (Polyak 1964; Sutskever et al. 2013 for the order of
/// the terms):
///
///   d = g + decay w        velocity = momentum velocity + d        w = w - rate velocity
///
/// or, with `nesterov`, w = w - rate (d + momentum velocity). Without momentum it keeps no state.
struct Sgd {
  static constexpr const char* name = "sgd";
  double learning_rate = 0.1;
  double momentum = 0;
  double weight_decay = 0;
  bool nesterov = false;

  /// The optimizer of these parameters.
  template <Backend B>
  [[nodiscard]] auto on(ParameterList<B> parameters) const {
    return Optimizer<Sgd, B>(*this, std::move(parameters));
  }

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape& shape) const {
    if (momentum == 0) return {};
    return {{"velocity", shape}};
  }

  template <Backend B>
  void update(Parameter<B>& parameter, std::span<TensorOf<B>> state, const UpdateStep& step) const {
    const double rate = learning_rate * step.rate_factor, decay = parameter.decay ? weight_decay : 0;
    const Index count = parameter.value.size();
    auto* weight = parameter.value.data();
    const auto* gradient = std::as_const(parameter.grad).data();
    if (momentum == 0) {
      const functors::Descend descend{rate, step.gradient_scale, decay};
      kernels::map(typename B::Device{}, Write::overwrite, count, descend, weight,
                   std::as_const(parameter.value).data(), gradient);
    } else {
      const kernels::SgdStep s{.rate = rate,
                               .momentum = momentum,
                               .weight_decay = decay,
                               .nesterov = nesterov,
                               .gradient_scale = step.gradient_scale};
      kernels::sgd(typename B::Device{}, s, count, weight, gradient, state[0].data());
    }
  }

  [[nodiscard]] constexpr const char* problem() const {
    if (!(learning_rate >= 0)) return "learning_rate must not be negative";
    if (!(momentum >= 0 && momentum < 1)) return "momentum must be at least 0 and less than 1";
    if (!(weight_decay >= 0)) return "weight_decay must not be negative";
    return nesterov && momentum == 0 ? "nesterov needs a momentum" : nullptr;
  }
  template <class F>
  void each_field(F&& f) const {
    f("learning_rate", learning_rate);
    f("momentum", momentum);
    f("weight_decay", weight_decay);
    f("nesterov", nesterov);
  }
};

}  // namespace retort
