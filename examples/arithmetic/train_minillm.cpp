#include "arithmetic/experiment.hpp"
#include "retort/training/minillm_run.hpp"

/// Training by MiniLLM; the training problems are prompts and corpus.
namespace arithmetic {

template <retort::Backend B>
retort::RunResult Experiment<B>::train(const Plan& plan, const MiniLlm& how, Model& model,
                                       const Model* teacher) const {
  retort::RunFolder folder(path(plan));
  auto by = optimizer(model, plan.rate);
  const retort::MiniLlmPhases phases{.rollouts = settings_.phase * settings_.batch_size,
                                     .inner_epochs = settings_.inner_epochs,
                                     .sampling_batch = settings_.batch_size * 2};
  return retort::run_minillm(folder, how, phases, model, *teacher, by, train_.batch, &train_.batch,
                             options(plan), setting(model), evaluation(model));
}

using B = support::CompiledBackend;
template retort::RunResult Experiment<B>::train(const Plan&, const MiniLlm&, Model&, const Model*) const;

}  // namespace arithmetic
