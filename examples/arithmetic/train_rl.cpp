#include "arithmetic/experiment.hpp"
#include "retort/eval/rewards.hpp"
#include "retort/training/rl_run.hpp"

/// Training by RL + GKD, with 1 for a right answer as the reward.
namespace arithmetic {

template <retort::Backend B>
retort::RunResult Experiment<B>::train(const Plan& plan, const RlGkd& how, Model& model,
                                       const Model* teacher) const {
  retort::RunFolder folder(path(plan));
  auto by = optimizer(model, plan.rate);
  const retort::Reward reward = retort::exact_answer_reward(
      train_.answers, [this](std::span<const std::int32_t> ids) { return vocabulary_.decode(ids); });
  retort::RunOptions run = options(plan);
  run.batch_size /= how.group;  // as many responses a step as the other recipes have
  return retort::run_rl_gkd(folder, how, reward, model, teacher, by, train_.batch, run, setting(model),
                            evaluation(model));
}

using B = support::CompiledBackend;
template retort::RunResult Experiment<B>::train(const Plan&, const RlGkd&, Model&, const Model*) const;

}  // namespace arithmetic
