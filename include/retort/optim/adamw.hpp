#pragma once

#include <cmath>

#include "retort/kernels/cpu/update.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2). With g the gradient, at update
/// t:
///
///   m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
///   w = (1 - rate decay) w - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
///
/// Decay applies where `Parameter::decay` says so. Adam (Kingma & Ba 2015) is `weight_decay = 0`.
struct AdamW {
  static constexpr const char* name = "adamw";
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;

  /// The optimizer of these parameters.
  template <Backend B>
  [[nodiscard]] auto on(ParameterList<B> parameters) const {
    return Optimizer<AdamW, B>(*this, std::move(parameters));
  }

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape& shape) const {
    return {{"first_moment", shape}, {"second_moment", shape}};
  }

  template <Backend B>
  void update(Parameter<B>& parameter, std::span<TensorOf<B>> state, const UpdateStep& step) const {
    kernels::adamw(typename B::Device{}, numbers(parameter.decay, step), parameter.value.size(),
                   parameter.value.data(), std::as_const(parameter.grad).data(), state[0].data(),
                   state[1].data());
  }

  /// `update` of the weights `master` by the model's narrower gradient, and the model's weights, in one pass.
  template <Backend B>
  void update_mixed(Parameter<B>& parameter, TensorOf<Master<B>>& master,
                    std::span<TensorOf<Master<B>>> state, const UpdateStep& step) const {
    kernels::adamw_mixed(typename B::Device{}, numbers(parameter.decay, step), master.size(), master.data(),
                         std::as_const(parameter.grad).data(), state[0].data(), state[1].data(),
                         parameter.value.data());
  }

  [[nodiscard]] constexpr const char* problem() const {
    if (!(learning_rate >= 0)) return "learning_rate must not be negative";
    if (!(beta1 >= 0 && beta1 < 1)) return "beta1 must be at least 0 and less than 1";
    if (!(beta2 >= 0 && beta2 < 1)) return "beta2 must be at least 0 and less than 1";
    if (!(epsilon >= 0)) return "epsilon must not be negative";
    return weight_decay >= 0 ? nullptr : "weight_decay must not be negative";
  }
  template <class F>
  void each_field(F&& f) const {
    f("learning_rate", learning_rate);
    f("beta1", beta1);
    f("beta2", beta2);
    f("epsilon", epsilon);
    f("weight_decay", weight_decay);
  }

 private:
  [[nodiscard]] kernels::AdamWStep numbers(bool decays, const UpdateStep& step) const {
    const auto t = static_cast<double>(step.number);
    return {.rate = learning_rate * step.rate_factor,
            .beta1 = beta1,
            .beta2 = beta2,
            .epsilon = epsilon,
            .weight_decay = decays ? weight_decay : 0,
            .correction1 = 1 - std::pow(beta1, t),
            .correction2 = 1 - std::pow(beta2, t),
            .gradient_scale = step.gradient_scale};
  }
};

}  // namespace retort
