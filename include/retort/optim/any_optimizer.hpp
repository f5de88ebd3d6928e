#pragma once

#include <utility>
#include <variant>
#include <vector>

#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"

namespace retort {

/// The shipped optimizers, for programs that choose at run time: a policy like any other, which does what the
/// chosen one does. The training loop around it is compiled once.
struct AnyOptimizer {
  static constexpr const char* name = "optimizer";
  std::variant<AdamW, Adafactor, Sgd> choice;

  /// The optimizer of these parameters.
  template <Backend B>
  [[nodiscard]] auto on(ParameterList<B> parameters) const {
    return Optimizer<AnyOptimizer, B>(*this, std::move(parameters));
  }

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape& shape) const {
    return std::visit([&](const auto& policy) { return policy.state_of(shape); }, choice);
  }

  template <Backend B>
  void update(Parameter<B>& parameter, std::span<TensorOf<B>> state, const UpdateStep& step) const {
    std::visit([&](const auto& policy) { policy.update(parameter, state, step); }, choice);
  }

  [[nodiscard]] constexpr const char* problem() const {
    return std::visit([](const auto& policy) { return policy.problem(); }, choice);
  }
  template <class F>
  void each_field(F&& f) const {
    f("choice", choice);
  }
};

}  // namespace retort
