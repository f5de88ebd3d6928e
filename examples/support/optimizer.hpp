#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "retort/core/policy.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/optim/any_optimizer.hpp"
#include "retort/optim/schedules.hpp"
#include "support/flags.hpp"

/// The optimizer that a program trains with, chosen by its flags.
namespace support {

/// The optimizers' values; learning rates are given when one is made.
struct OptimizerChoice {
  std::string name = "adamw";  ///< adamw, adafactor or sgd
  retort::AdamW adamw{.beta2 = 0.99};
  retort::Adafactor adafactor{};
  retort::Sgd sgd{.momentum = 0.9};
};

/// The values of AdamW.
inline void add_adamw_flags(const FlagGroup& group, retort::AdamW& adamw) {
  group.in("--beta1", adamw.beta1, 0, 0.99999, "decay of AdamW's first moment");
  group.in("--beta2", adamw.beta2, 0, 0.99999, "decay of AdamW's second moment");
  group.not_negative("--epsilon", adamw.epsilon, "of AdamW: added to the root of the second moment");
  group.not_negative("--weight-decay", adamw.weight_decay, "of AdamW");
}

/// --optimizer and the values of each.
inline void add_optimizer_flags(const FlagGroup& group, OptimizerChoice& choice) {
  group.one_of("--optimizer", choice.name, {"adamw", "adafactor", "sgd"}, "adamw, adafactor or sgd");
  add_adamw_flags(group, choice.adamw);
  group.in("--momentum", choice.sgd.momentum, 0, 0.99999, "of SGD");
  group.flag("--nesterov", choice.sgd.nesterov, "SGD with Nesterov's momentum");
  group.not_negative("--sgd-weight-decay", choice.sgd.weight_decay, "of SGD");
  auto& a = choice.adafactor;
  group.positive("--adafactor-decay-rate", a.decay_rate, "the second moment decays by 1 - t^-RATE");
  group.positive("--adafactor-epsilon1", a.epsilon1, "added to squared gradients");
  group.not_negative("--adafactor-epsilon2", a.epsilon2, "least root mean square of a weight");
  group.positive("--adafactor-clip", a.clip_threshold, "largest root mean square of an update");
  group.in("--adafactor-beta1", a.beta1, 0, 0.99999, "above 0: average of the updates");
  group.not_negative("--adafactor-weight-decay", a.weight_decay, "of Adafactor");
  group.flag("--adafactor-relative-step", a.relative_step, "rate of 1 / sqrt(t) at most");
  group.flag("--adafactor-scale-parameter,!--no-adafactor-scale-parameter", a.scale_parameter,
             "steps in proportion to a weight's root mean square (default)");
}

/// The chosen optimizer with this learning rate. ValueError for a value outside its range.
[[nodiscard]] inline retort::AnyOptimizer optimizer_of(OptimizerChoice choice, double rate) {
  const auto with_rate = [&](auto policy) -> retort::AnyOptimizer {
    policy.learning_rate = rate;
    retort::check_policy(policy);
    return {policy};
  };
  if (choice.name == "adafactor") return with_rate(choice.adafactor);
  if (choice.name == "sgd") return with_rate(choice.sgd);
  return with_rate(choice.adamw);
}

/// The values of a policy without its name and its learning rate: {"beta1": 0.9, ...}.
[[nodiscard]] inline nlohmann::json values_of(const retort::AnyOptimizer& optimizer) {
  nlohmann::json values = retort::to_json(optimizer.choice);
  values.erase("name");
  values.erase("learning_rate");
  return values;
}

/// The schedule of that name for a run of so many steps, of which the share `warm_up` is its warm-up.
/// ValueError for an unknown name.
[[nodiscard]] inline retort::AnySchedule schedule_of(const std::string& name, double warm_up,
                                                     retort::Index steps) {
  return retort::parse_schedule(name,
                                static_cast<retort::Index>(warm_up * static_cast<double>(steps) + 1e-9));
}

}  // namespace support
