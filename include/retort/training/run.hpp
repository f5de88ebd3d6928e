#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "retort/data/batches.hpp"
#include "retort/distill/audit.hpp"
#include "retort/generate/room.hpp"
#include "retort/training/run_loop.hpp"

namespace retort {

namespace detail {

/// A GKD recipe as a TrainingMethod.
template <class Recipe, class Student, class Teacher, class Policy>
struct GkdMethod {
  const Recipe& recipe;
  Student& student;
  const Teacher* teacher;
  Optimizer<Policy, typename Student::Backend>& optimizer;
  Batches batches;

  nlohmann::json step(const RunStep& at) {
    using B = typename Student::Backend;
    nlohmann::json metrics;
    const auto take = [&](const RowsObserver<B>& observe) {
      const StepReport report = training_step(recipe, student, teacher, optimizer, batches.at(at.step),
                                              at.key, at.options, observe);
      metrics.update({{"loss", report.loss},
                      {"mean", report.mean},
                      {"tokens", report.tokens},
                      {"gradient_norm", report.gradient_norm},
                      {"source", source_name(report.source)}});
      if (report.source != Source::data) metrics["sampling_seconds"] = report.sampling_seconds;
    };
    if constexpr (requires { recipe.audit_every; }) {
      if (recipe.audit_every > 0 && at.step % recipe.audit_every == 0) {
        AuditSums audit;
        take([&](const auto& tokens, Index student_vocabulary, Index teacher_vocabulary) {
          return audit.template observer<B>(tokens, student_vocabulary, teacher_vocabulary);
        });
        const Audit mean = audit.mean();
        if (mean.tokens > 0)
          mean.each_of_rows([&](const char* name, double value) { metrics[name] = value; });
        return metrics;
      }
    }
    take({});
    return metrics;
  }
};

}  // namespace detail

/// Trains `student` by `recipe` on `data` in `folder`: config.json, metrics.jsonl, checkpoint.safetensors.
/// When the folder holds a checkpoint of the same configuration, the run continues from it, bit-identical to
/// one that was never interrupted. `evaluate()` returns a JSON object for the metrics (error rates, say).
/// `teacher` may be nullptr where the recipe needs none. `config` describes what RunOptions, recipe and
/// optimizer do not (model sizes, data). With `audited(recipe, n)` the metrics of every n-th step also have
/// its divergences and entropies.
///
/// Throws ValueError before the first step for a prompt that leaves no room for a response where the recipe
/// samples, FileError if the folder cannot be used, NumericError when a loss or gradient is not finite: the
/// last checkpoint stays as it is.
template <class Recipe, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_training(RunFolder& folder, const Recipe& recipe, Student& student, const Teacher* teacher,
                       Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& data,
                       const RunOptions& options, const nlohmann::json& config = nlohmann::json::object(),
                       const std::function<nlohmann::json()>& evaluate = {}) {
  check_policy(recipe);
  if (!always_data(recipe.outputs)) {
    require_room("run_training", "student", student, data, recipe.max_tokens);
    if (teacher != nullptr) require_room("run_training", "teacher", *teacher, data, recipe.max_tokens);
  }
  detail::GkdMethod<Recipe, Student, Teacher, Policy> method{
      recipe, student, teacher, optimizer,
      Batches(data, {.seed = options.seed, .batch_size = options.batch_size})};
  return run_loop(folder, method, parameters(student), optimizer, options, to_json(recipe),
                  detail::inputs_of_run(data, teacher), config, evaluate);
}

}  // namespace retort
