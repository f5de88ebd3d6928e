#pragma once

#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "retort/autograd/parameter.hpp"
#include "retort/core/policy.hpp"
#include "retort/kernels/cpu/map.hpp"

/// The part that all optimizers share. A policy (AdamW, Adafactor, Sgd, or a user's own) says what it keeps
/// for each parameter and how one step changes one parameter; `Optimizer` does the rest.
namespace retort {

/// What a training loop may change from step to step.
struct StepScale {
  double rate_factor = 1;     ///< multiplies the policy's learning rate: a schedule's factor
  double gradient_scale = 1;  ///< multiplies every gradient: clipping, a mean over micro-batches
};

/// One update of one parameter, as a policy sees it.
struct UpdateStep {
  Index number = 1;  ///< counts this parameter's updates from 1 (bias corrections)
  double rate_factor = 1;
  double gradient_scale = 1;
};

/// A tensor that an optimizer keeps for a parameter.
struct StateTensor {
  const char* name;  ///< its name in a checkpoint is `<parameter>.<name>`
  Shape shape;
};

/// An optimizer policy is a NamedPolicy with `state_of(shape)`, the tensors to keep for a parameter of that
/// shape (they begin as zeros), and `update(parameter, state, step)`, which changes `parameter.value` by
/// `parameter.grad`. For models in bf16 it sees weights and gradients in float (see `Master`); to save the
/// conversions it may be a MixedPolicy besides.
template <class P>
concept OptimizerPolicy = NamedPolicy<P> &&
    requires(const P policy, Parameter<Cpu<float>>& parameter, std::span<Tensor<float, CpuDevice>> state) {
  { policy.state_of(parameter.shape()) } -> std::same_as<std::vector<StateTensor>>;
  policy.update(parameter, state, UpdateStep{});
};

/// A policy that can update a model in B, narrower than its Master<B>, in one pass: `update_mixed` does what
/// `update` would do to `master` by `parameter.grad` widened, and makes `parameter.value` the new master
/// rounded. A policy derived from such a one that has an `update` of its own needs its own `update_mixed`.
template <class P, class B>
concept MixedPolicy = Backend<B> && !std::same_as<B, Master<B>> &&
                      requires(const P policy, Parameter<B>& parameter, TensorOf<Master<B>>& master,
                               std::span<TensorOf<Master<B>>> state) {
  policy.update_mixed(parameter, master, state, UpdateStep{});
};

/// A policy at work on the parameters of a model, which must outlive it. Made by the policy:
///
///   auto optimizer = AdamW{.learning_rate = 3e-4}.on(parameters(model));
///
/// Parameters that are not trainable, or got no gradient since the last step, are left alone, their state
/// too.
template <class Policy, Backend B>
class Optimizer {
  static_assert(
      OptimizerPolicy<Policy>,
      "an optimizer policy needs name, each_field(f), state_of(shape) and update(parameter, state, step)");

 public:
  /// Throws ValueError for a policy's value outside its range and for two parameters with one name.
  Optimizer(Policy policy, ParameterList<B> parameters)
      : policy_(std::move(policy)), parameters_(std::move(parameters)), updates_(parameters_.size()) {
    check_policy(policy_);
    std::set<std::string> names;
    for (const auto* p : parameters_) {
      if (!names.insert(p->name).second)
        fail<ValueError>(Policy::name, "two parameters are called {}", p->name);
      state_.push_back(p->trainable ? new_state(*p) : std::vector<Kept>{});
    }
  }

  /// Changes the parameters by their gradients, then forgets the gradients: the next backward pass begins
  /// anew. Throws ValueError, before anything is changed, if a loss wrote to a gradient in its forward pass
  /// and was never propagated.
  void step(const StepScale& scale = {}) {
    for (const auto* p : parameters_)
      if (p->trainable && p->open_losses != 0)
        fail<ValueError>(Policy::name, "the gradient of {} holds {} loss(es) that await backward()", p->name,
                         p->open_losses);
    ++steps_;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Parameter<B>& p = *parameters_[i];
      if (!p.trainable || !p.has_grad) continue;
      if (state_[i].empty()) state_[i] = new_state(p);  // it was not trainable at first
      ++updates_[i];
      update(p, state_[i], UpdateStep{updates_[i], scale.rate_factor, scale.gradient_scale});
    }
    zero_grad();
  }

  /// Forgets all gradients: the next backward pass overwrites them. Costs nothing.
  void zero_grad() { clear_gradients(parameters_); }

  /// Calls of `step` so far, those of the run that a checkpoint continues included.
  [[nodiscard]] Index steps() const { return steps_; }

  /// How often each parameter was updated, in the order of the list.
  [[nodiscard]] const std::vector<Index>& updates() const { return updates_; }

  /// Continues the counts of another run. Throws ValueError unless there is one count a parameter.
  void restore_counts(Index steps, std::vector<Index> updates) {
    if (updates.size() != parameters_.size())
      fail<ValueError>(Policy::name, "{} update counts given for {} parameters", updates.size(),
                       parameters_.size());
    steps_ = steps;
    updates_ = std::move(updates);
  }

  /// Calls f(name, tensor) for each tensor of the state, `decoder.wte.first_moment` and so on; with `steps`
  /// and `updates` they are all that a checkpoint needs.
  template <class F>
  void each_state(F&& f) {
    visit_state(*this, f);
  }
  template <class F>
  void each_state(F&& f) const {
    visit_state(*this, f);
  }

  [[nodiscard]] const Policy& policy() const { return policy_; }
  [[nodiscard]] const ParameterList<B>& parameters() const { return parameters_; }

 private:
  Policy policy_;
  ParameterList<B> parameters_;
  using Kept = TensorOf<Master<B>>;
  static constexpr bool has_master = !std::same_as<B, Master<B>>;

  // A list a parameter: what the policy keeps, then the weight in float if the model's is narrower.
  std::vector<std::vector<Kept>> state_;
  std::vector<Index> updates_;
  Index steps_ = 0;

  [[nodiscard]] std::vector<Kept> new_state(const Parameter<B>& p) const {
    std::vector<Kept> state;
    for (const StateTensor& t : policy_.state_of(p.shape())) state.push_back(Kept::zeros(t.shape));
    if constexpr (has_master) state.push_back(widened(p.value));
    return state;
  }

  [[nodiscard]] static Kept widened(const TensorOf<B>& narrow) {
    Kept wide(narrow.shape());
    kernels::convert(typename B::Device{}, narrow.size(), narrow.data(), wide.data());
    return wide;
  }

  void update(Parameter<B>& p, std::vector<Kept>& state, const UpdateStep& step) const {
    if constexpr (MixedPolicy<Policy, B>) {
      policy_.update_mixed(p, state.back(), std::span(state).first(state.size() - 1), step);
    } else if constexpr (has_master) {
      Parameter<Master<B>> master;
      master.value = state.back();
      master.grad = widened(p.grad);
      master.decay = p.decay;
      policy_.update(master, std::span(state).first(state.size() - 1), step);
      kernels::convert(typename B::Device{}, p.value.size(), std::as_const(master.value).data(),
                       p.value.data());
    } else {
      policy_.update(p, std::span(state), step);
    }
  }

  template <class Self, class F>
  static void visit_state(Self& self, F& f) {
    for (std::size_t i = 0; i < self.parameters_.size(); ++i) {
      const auto kinds = self.policy_.state_of(self.parameters_[i]->shape());
      for (std::size_t k = 0; k < self.state_[i].size(); ++k)
        f(self.parameters_[i]->name + "." + (k < kinds.size() ? kinds[k].name : "master"), self.state_[i][k]);
    }
  }
};

}  // namespace retort
