#pragma once

#include <nlohmann/json.hpp>
#include <numeric>

#include "retort/distill/gkd.hpp"
#include "retort/distill/reuse.hpp"
#include "retort/eval/repetition.hpp"
#include "retort/generate/room.hpp"
#include "retort/optim/clip.hpp"
#include "retort/training/accumulate.hpp"
#include "retort/training/rollout_store.hpp"
#include "retort/training/run_loop.hpp"

namespace retort {

namespace detail {

/// On-policy distillation from stored samples as a TrainingMethod.
template <class D, class S, class Student, class Teacher, class Policy>
class ReuseMethod {
 public:
  using Recipe = Gkd<D, FromStudent, S>;
  using B = typename Student::Backend;

  ReuseMethod(const Recipe& recipe, const Reuse& reuse, Student& student, const Teacher& teacher,
              Optimizer<Policy, B>& optimizer, const Batch& prompts, const RunOptions& options)
      : recipe_(recipe),
        reuse_(reuse),
        student_(student),
        teacher_(teacher),
        optimizer_(optimizer),
        store_("reuse", prompts, {reuse.rollouts, reuse.inner_epochs, options.batch_size, options.batch_size},
               recipe.max_tokens, options.seed) {
    if (store_.updates() - 1 > reuse.staleness)
      fail<ValueError>(
          "reuse",
          "{} rollouts in batches of {}, {} times: the last is used {} updates after it was sampled, at most "
          "{} are allowed",
          reuse.rollouts, options.batch_size, reuse.inner_epochs, store_.updates() - 1, reuse.staleness);
  }

  nlohmann::json step(const RunStep& at) {
    double sampling_seconds = 0;
    const Rollouts batch = store_.next(
        at.step, [&](RandomKey key, const Batch& prompts) { return sample(key, prompts); }, sampling_seconds);
    const Sequences& responses = batch.samples.responses;
    const Normaliser total = Normaliser::of(responses);
    optimizer_.zero_grad();
    double mean = 0, weight = 0, weight_squared = 0;
    const StepGradients gradients = step_gradients(
        "reuse", optimizer_, batch.size(), at.key, at.options,
        [&](Context<B>& context, int first, int last) {
          std::vector<int> rows(static_cast<std::size_t>(last - first));
          std::iota(rows.begin(), rows.end(), first);
          return reused_loss(recipe_.divergence, reuse_, context, student_, teacher_, batch.select(rows),
                             total, recipe_.options);
        },
        [&](const ReusedLoss<B>& part, int, int) {
          mean += part.mean * static_cast<double>(part.weights.size()) /
                  std::max<double>(1, static_cast<double>(total.tokens));
          for (const double w : part.weights) weight += w, weight_squared += w * w;
        },
        [&](int first, int last, RandomKey) {
          name_teacher_not_finite("reuse", &teacher_, batch.samples.slice(first, last));
        });
    optimizer_.step({.rate_factor = at.options.rate_factor, .gradient_scale = gradients.clipped.scale});
    const double tokens = std::max<double>(1, static_cast<double>(total.tokens));
    return {{"loss", gradients.loss},
            {"mean", mean},
            {"tokens", total.tokens},
            {"gradient_norm", gradients.clipped.norm},
            {"mean_weight", weight / tokens},
            {"effective_size", weight_squared > 0 ? weight * weight / weight_squared / tokens : 0},
            {"age", store_.age(at.step)},
            {"repetition", repetition_rate(responses)},
            {"sampling_seconds", sampling_seconds}};
  }

  void save(SafetensorsWriter& writer) const { store_.save(writer); }
  void restore(const SafetensorsFile& file) { store_.restore(file); }

 private:
  const Recipe& recipe_;
  const Reuse& reuse_;
  Student& student_;
  const Teacher& teacher_;
  Optimizer<Policy, B>& optimizer_;
  RolloutStore store_;

  [[nodiscard]] Rollouts sample(RandomKey key, const Batch& prompts) const {
    Generated own =
        generate(student_, prompts.prompts, prompts.ids, recipe_.sampler, recipe_.generation(key));
    // The teacher's log-probabilities are not needed; the sampler's filters are: weights are by what q_old
    // gave.
    return {{prompts.prompts, std::move(own.responses), prompts.ids},
            own.log_probabilities,
            own.log_probabilities,
            std::move(own.log_draws)};
  }
};

}  // namespace detail

/// On-policy distillation as `run_training` does it with a recipe of FromStudent, but each sample serves
/// several updates (see Reuse). The store of samples is part of the checkpoint. Throws ValueError if the
/// phases exceed the bound of staleness, and for a prompt that leaves no room for a response.
template <class D, class S, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_reuse(RunFolder& folder, const Gkd<D, FromStudent, S>& recipe, const Reuse& reuse,
                    Student& student, const Teacher& teacher,
                    Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& prompts,
                    const RunOptions& options, const nlohmann::json& config = nlohmann::json::object(),
                    const std::function<nlohmann::json()>& evaluate = {}) {
  check_policy(reuse);
  check_policy(recipe.divergence);
  detail::ReuseMethod<D, S, Student, Teacher, Policy> method(recipe, reuse, student, teacher, optimizer,
                                                             prompts, options);
  require_room("reuse", "student", student, prompts, recipe.max_tokens);
  require_room("reuse", "teacher", teacher, prompts, recipe.max_tokens);
  nlohmann::json description = to_json(recipe);
  description["reuse"] = to_json(reuse);
  return run_loop(folder, method, parameters(student), optimizer, options, description,
                  detail::inputs_of_run(prompts, &teacher), config, evaluate);
}

}  // namespace retort
