#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "retort/data/batches.hpp"
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
    const StepReport report =
        training_step(recipe, student, teacher, optimizer, batches.at(at.step), at.key, at.options);
    return {{"loss", report.loss},
            {"mean", report.mean},
            {"tokens", report.tokens},
            {"gradient_norm", report.gradient_norm},
            {"source", source_name(report.source)}};
  }
};

}  // namespace detail

/// Trains `student` by `recipe` on `data` in `folder`: config.json, metrics.jsonl, checkpoint.safetensors.
/// When the folder holds a checkpoint of the same configuration, the run continues from it, bit-identical to
/// one that was never interrupted. `evaluate()` returns a JSON object for the metrics (error rates, say).
/// `teacher` may be nullptr where the recipe needs none. `config` describes what RunOptions, recipe and
/// optimizer do not (model sizes, data).
///
/// Throws FileError if the folder cannot be used, NumericError when a loss or gradient is not finite: the
/// last checkpoint stays as it is.
template <class Recipe, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_training(RunFolder& folder, const Recipe& recipe, Student& student, const Teacher* teacher,
                       Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& data,
                       const RunOptions& options, const nlohmann::json& config = nlohmann::json::object(),
                       const std::function<nlohmann::json()>& evaluate = {}) {
  detail::GkdMethod<Recipe, Student, Teacher, Policy> method{
      recipe, student, teacher, optimizer,
      Batches(data, {.seed = options.seed, .batch_size = options.batch_size})};
  return run_loop(folder, method, parameters(student), optimizer, options, to_json(recipe),
                  detail::inputs_of_run(data, teacher), config, evaluate);
}

}  // namespace retort
