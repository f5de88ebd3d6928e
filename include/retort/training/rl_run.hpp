#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "retort/data/batches.hpp"
#include "retort/distill/rl_gkd.hpp"
#include "retort/eval/repetition.hpp"
#include "retort/generate/room.hpp"
#include "retort/optim/clip.hpp"
#include "retort/training/accumulate.hpp"
#include "retort/training/run_loop.hpp"

namespace retort {

/// What a run does about a reward that fails.
struct RlRunOptions {
  int failures_in_a_row = 5;  ///< so many dropped steps, one after the other, end the run
};

/// What happened in a step of RL + GKD.
struct RlGkdReport {
  double loss = 0;        ///< the minimised value, the sum of the two that follow
  double policy = 0;      ///< the policy gradient's share
  double divergence = 0;  ///< alpha times the divergence
  double gradient_norm = 0;
  Audit audit{};
};

/// The rewards of a batch, checked: ValueError that names a prompt if their number is wrong or one is not
/// finite.
[[nodiscard]] inline std::vector<double> checked_rewards(const Reward& reward, const Batch& samples) {
  const std::vector<double> rewards = reward(samples);
  if (std::ssize(rewards) != samples.size())
    fail<ValueError>("reward", "{} rewards for {} responses, the first to prompt {}", rewards.size(),
                     samples.size(), samples.ids.empty() ? 0 : samples.ids.front());
  for (std::size_t i = 0; i < rewards.size(); ++i)
    if (!std::isfinite(rewards[i]))
      fail<ValueError>("reward", "the reward of the response to prompt {} is {}", samples.ids[i], rewards[i]);
  return rewards;
}

/// One update of RL + GKD from `samples`, the whole step's responses in groups of how.group, and their
/// rewards. Otherwise as `minillm_step`.
template <class D, class S, LanguageModel Student, LanguageModel Teacher, class Policy>
RlGkdReport rl_gkd_step(const RlGkd<D, S>& how, const Student& student, const Teacher* teacher,
                        Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& samples,
                        const std::vector<double>& advantages, RandomKey key,
                        const StepOptions& options = {}) {
  using B = typename Student::Backend;
  check_policy(how);
  RlGkdReport report;
  const Normaliser total = Normaliser::of(samples.responses);
  optimizer.zero_grad();
  AuditSums audit;
  AuditSums* look = &audit;  // for the first look at a micro-batch only, not for the search for NaN
  const StepGradients gradients = detail::step_gradients(
      "rl_gkd_step", optimizer, samples.size(), key, options,
      [&](Context<B>& context, int first, int last) {
        const auto own =
            std::span(advantages)
                .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first));
        return rl_gkd_loss(how, context, student, teacher, samples.slice(first, last), own, total,
                           std::exchange(look, nullptr));
      },
      [&](const RlGkdLoss<B>& loss, int, int) {
        report.policy += loss.policy;
        report.divergence += loss.divergence;
        look = &audit;
      },
      [&](int first, int last, RandomKey) {
        detail::name_teacher_not_finite("rl_gkd_step", teacher, samples.slice(first, last));
      });
  report.loss = gradients.loss;
  report.audit = audit.mean();
  report.gradient_norm = gradients.clipped.norm;
  optimizer.step({.rate_factor = options.rate_factor, .gradient_scale = gradients.clipped.scale});
  return report;
}

namespace detail {

/// RL + GKD as a TrainingMethod.
template <class D, class S, class Student, class Teacher, class Policy>
class RlGkdMethod {
 public:
  RlGkdMethod(const RlGkd<D, S>& how, const Reward& reward, Student& student, const Teacher* teacher,
              Optimizer<Policy, typename Student::Backend>& optimizer, Batches prompts,
              const RlRunOptions& limits)
      : how_(how),
        reward_(reward),
        student_(student),
        teacher_(teacher),
        optimizer_(optimizer),
        prompts_(std::move(prompts)),
        limits_(limits) {}

  nlohmann::json step(const RunStep& at) {
    const Batch prompts = prompts_.at(at.step);
    Batch samples = repeat_prompts(prompts, how_.group);
    const double began = steady_seconds();
    samples.responses =
        generate(student_, samples.prompts, samples.ids, how_.sampler, how_.generation(at.key.fork(1)))
            .responses;
    const double sampling_seconds = steady_seconds() - began;
    std::vector<double> rewards(static_cast<std::size_t>(samples.size()), 0);
    if (how_.alpha < 1) {
      try {
        Batch named = samples;  // a reward sees the prompts' own ids
        for (std::size_t i = 0; i < named.ids.size(); ++i)
          named.ids[i] = prompts.ids[i / static_cast<std::size_t>(how_.group)];
        rewards = checked_rewards(reward_, named);
        failures_ = 0;
      } catch (const std::exception& error) {
        if (++failures_ >= limits_.failures_in_a_row)
          fail<ValueError>("rl_gkd", "{} steps in a row without rewards, the last one: {}", failures_,
                           error.what());
        return {{"notice", fmt::format("step {} is dropped: {} (its first prompt is {})", at.step + 1,
                                       error.what(), prompts.ids.front())}};
      }
    }
    double mean = 0;
    for (const double r : rewards) mean += r / static_cast<double>(rewards.size());
    const auto advantages = group_advantages(how_.baseline, how_.group, rewards, running_mean_);
    running_mean_ = steps_ == 0 ? mean : how_.decay * running_mean_ + (1 - how_.decay) * mean;
    ++steps_;
    const RlGkdReport report =
        rl_gkd_step(how_, student_, teacher_, optimizer_, samples, advantages, at.key, at.options);
    nlohmann::json metrics{
        {"loss", report.loss},
        {"mean", report.divergence},
        {"reward", mean},
        {"policy", report.policy},
        {"divergence", report.divergence},
        {"tokens", report.audit.tokens},
        {"gradient_norm", report.gradient_norm},
        {"response_length", static_cast<double>(samples.responses.total()) / samples.size()},
        {"repetition", repetition_rate(samples.responses)},
        {"sampling_seconds", sampling_seconds}};
    report.audit.each([&](const char* name, double value) { metrics[name] = value; });
    return metrics;
  }

  void save(SafetensorsWriter& writer) const {
    writer.add(
        "method/rl_gkd", Shape{3},
        std::vector<double>{running_mean_, static_cast<double>(steps_), static_cast<double>(failures_)});
  }
  void restore(const SafetensorsFile& file) {
    const auto numbers = file.template read<double>("method/rl_gkd");
    if (numbers.size() != 3)
      fail<FileError>("load", "'{}': method/rl_gkd has {} numbers, expected 3", file.path().string(),
                      numbers.size());
    running_mean_ = numbers[0];
    steps_ = static_cast<Index>(numbers[1]);
    failures_ = static_cast<int>(numbers[2]);
  }

 private:
  const RlGkd<D, S>& how_;
  const Reward& reward_;
  Student& student_;
  const Teacher* teacher_;
  Optimizer<Policy, typename Student::Backend>& optimizer_;
  Batches prompts_;
  RlRunOptions limits_;
  double running_mean_ = 0;
  Index steps_ = 0;  // with rewards
  int failures_ = 0;
};

}  // namespace detail

/// Trains `student` by RL + GKD on `prompts` (whose responses are not looked at) in `folder`, as
/// `run_training` does by GKD's recipes; a step samples how.group responses to each of RunOptions::batch_size
/// prompts. A step whose rewards fail (an exception, a wrong number of them, one that is not finite) is
/// dropped with a notice; after `limits.failures_in_a_row` of them the run ends with a ValueError. So does,
/// before the first step, a prompt that leaves no room for a response. `teacher` may be nullptr if alpha is
/// 0.
template <class D, class S, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_rl_gkd(RunFolder& folder, const RlGkd<D, S>& how, const Reward& reward, Student& student,
                     const Teacher* teacher, Optimizer<Policy, typename Student::Backend>& optimizer,
                     const Batch& prompts, const RunOptions& options,
                     const nlohmann::json& config = nlohmann::json::object(),
                     const std::function<nlohmann::json()>& evaluate = {}, const RlRunOptions& limits = {}) {
  check_policy(how);
  require_room("rl_gkd", "student", student, prompts, how.max_tokens);
  if (teacher != nullptr) require_room("rl_gkd", "teacher", *teacher, prompts, how.max_tokens);
  detail::RlGkdMethod<D, S, Student, Teacher, Policy> method(
      how, reward, student, teacher, optimizer,
      Batches(prompts, {.seed = options.seed, .batch_size = options.batch_size}), limits);
  return run_loop(folder, method, parameters(student), optimizer, options, to_json(how),
                  detail::inputs_of_run(prompts, teacher), config, evaluate);
}

}  // namespace retort
