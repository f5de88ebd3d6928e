#include "arithmetic/experiment.hpp"
#include "retort/training/run.hpp"

/// Training by the recipes of the GKD paper, supervised fine-tuning among them.
namespace arithmetic {

template <retort::Backend B>
retort::RunResult Experiment<B>::train(const Plan& plan, const AnyGkd& how, Model& model,
                                       const Model* teacher) const {
  retort::RunFolder folder(path(plan));
  auto by = optimizer(model, plan.rate);
  return retort::run_training(folder, how, model, teacher, by, train_.batch, options(plan), setting(model),
                              evaluation(model));
}

using B = support::CompiledBackend;
template retort::RunResult Experiment<B>::train(const Plan&, const AnyGkd&, Model&, const Model*) const;

}  // namespace arithmetic
