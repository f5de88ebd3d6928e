#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "retort/eval/repetition.hpp"
#include "retort/generate/room.hpp"
#include "retort/training/minillm_step.hpp"
#include "retort/training/rollout_store.hpp"
#include "retort/training/run_loop.hpp"

namespace retort {

/// Sizes of MiniLLM's phases: sample `rollouts` responses, then `inner_epochs` passes over them in updates of
/// RunOptions::batch_size. A step of the run is an update.
struct MiniLlmPhases {
  static constexpr const char* name = "phases";
  int rollouts = 256;       ///< responses sampled at a time; a multiple of the batch size
  int inner_epochs = 4;     ///< passes over them
  int sampling_batch = 64;  ///< responses that are decoded together; changes memory and speed alone

  template <class F>
  void each_field(F&& f) const {
    f("rollouts", rollouts), f("inner_epochs", inner_epochs);
  }
};

namespace detail {

/// MiniLLM as a TrainingMethod: phases of sampling and of updates.
template <class S, class Student, class Teacher, class Policy>
class MiniLlmMethod {
 public:
  MiniLlmMethod(const MiniLlm<S>& how, const MiniLlmPhases& phases, Student& student, const Teacher& teacher,
                Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& prompts,
                const Batch* corpus, const RunOptions& options)
      : how_(how),
        student_(student),
        teacher_(teacher),
        optimizer_(optimizer),
        store_("minillm", prompts,
               {phases.rollouts, phases.inner_epochs, options.batch_size, phases.sampling_batch},
               how.max_tokens, options.seed) {
    if (corpus != nullptr && !corpus->empty() && how.corpus != CorpusLoss::none)
      corpus_.emplace(*corpus, BatchCursor{.seed = options.seed + 1, .batch_size = options.batch_size});
  }

  nlohmann::json step(const RunStep& at) {
    double sampling_seconds = 0;
    const Rollouts batch = store_.next(
        at.step,
        [&](RandomKey key, const Batch& prompts) {
          return roll_out(student_, teacher_, prompts, how_.sampling, how_.generation(key));
        },
        sampling_seconds);
    std::optional<Batch> corpus;
    if (corpus_) corpus = corpus_->at(at.step);
    const MiniLlmReport report = minillm_step(how_, student_, teacher_, optimizer_, batch,
                                              corpus ? &*corpus : nullptr, at.key, at.options);
    nlohmann::json metrics{
        {"loss", report.loss},
        {"mean", report.audit.reverse_kl},
        {"policy", report.policy},
        {"single_step", report.single_step},
        {"corpus", report.corpus},
        {"tokens", report.audit.tokens},
        {"gradient_norm", report.gradient_norm},
        {"response_length", static_cast<double>(batch.samples.responses.total()) / batch.size()},
        {"repetition", repetition_rate(batch.samples.responses)},
        {"age", store_.age(at.step)},
        {"sampling_seconds", sampling_seconds}};
    report.audit.each([&](const char* name, double value) { metrics[name] = value; });
    return metrics;
  }

  void save(SafetensorsWriter& writer) const { store_.save(writer); }
  void restore(const SafetensorsFile& file) { store_.restore(file); }

 private:
  const MiniLlm<S>& how_;
  Student& student_;
  const Teacher& teacher_;
  Optimizer<Policy, typename Student::Backend>& optimizer_;
  RolloutStore store_;
  std::optional<Batches> corpus_;
};

}  // namespace detail

/// Trains `student` by MiniLLM on `prompts` (whose responses are not looked at) in `folder`, as
/// `run_training` does by GKD's recipes. `corpus`, which may be nullptr, is what CorpusLoss learns. The
/// rollouts are part of the checkpoint: a run that was killed while it sampled or between updates continues
/// bit-identical. Throws ValueError for settings out of range and for a prompt that leaves no room for a
/// response, and what `run_loop` throws.
template <class S, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_minillm(RunFolder& folder, const MiniLlm<S>& how, const MiniLlmPhases& phases, Student& student,
                      const Teacher& teacher, Optimizer<Policy, typename Student::Backend>& optimizer,
                      const Batch& prompts, const Batch* corpus, const RunOptions& options,
                      const nlohmann::json& config = nlohmann::json::object(),
                      const std::function<nlohmann::json()>& evaluate = {}) {
  check_policy(how);
  detail::MiniLlmMethod<S, Student, Teacher, Policy> method(how, phases, student, teacher, optimizer, prompts,
                                                            corpus, options);
  require_room("minillm", "student", student, prompts, how.max_tokens);
  require_room("minillm", "teacher", teacher, prompts, how.max_tokens);
  nlohmann::json recipe = to_json(how);
  recipe["phases"] = to_json(phases);
  nlohmann::json inputs = detail::inputs_of_run(prompts, &teacher);
  if (corpus != nullptr) inputs["corpus"] = digest(*corpus);
  return run_loop(folder, method, parameters(student), optimizer, options, recipe, inputs, config, evaluate);
}

}  // namespace retort
