#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "retort/data/batches.hpp"
#include "retort/distill/sparse_teacher.hpp"
#include "retort/io/teacher_file.hpp"
#include "retort/training/run_loop.hpp"

/// Distillation from a teacher that was asked once: only its file is there, no model of it is in memory.
namespace retort {

/// `training_step` with a teacher's targets in the place of the teacher: `targets` of all of `batch`'s
/// responses, in their order. Throws as `training_step` and `sparse_loss` do.
template <class O, class S, LanguageModel Student, class Policy>
StepReport offline_step(const Gkd<O, FromData, S>& recipe, const Student& student,
                        Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& batch,
                        const SparseTargets& targets, RandomKey key, const StepOptions& options = {}) {
  using B = typename Student::Backend;
  const Normaliser total = Normaliser::of(batch.responses);
  StepReport report{.tokens = total.tokens};
  optimizer.zero_grad();
  const StepGradients gradients = detail::step_gradients(
      "offline_step", optimizer, batch.size(), key, options,
      [&](Context<B>& context, int first, int last) {
        return sparse_loss(recipe.divergence, context, student, batch.slice(first, last),
                           targets.slice(first, last), total, recipe.options);
      },
      [&](const Loss<B>& loss, int, int) {
        if (loss.tokens > 0)
          report.mean += loss.mean * static_cast<double>(loss.tokens) / static_cast<double>(total.tokens);
      },
      [](int, int, RandomKey) {});
  report.loss = gradients.loss;
  report.gradient_norm = gradients.clipped.norm;
  optimizer.step({.rate_factor = options.rate_factor, .gradient_scale = gradients.clipped.scale});
  return report;
}

namespace detail {

/// Distillation from a teacher's file as a TrainingMethod.
template <class Recipe, class Student, class Policy>
struct OfflineMethod {
  const Recipe& recipe;
  Student& student;
  const TeacherFile& teacher;
  Optimizer<Policy, typename Student::Backend>& optimizer;
  Batches batches;

  nlohmann::json step(const RunStep& at) {
    const Batch batch = batches.at(at.step);
    const StepReport report =
        offline_step(recipe, student, optimizer, batch, teacher.targets(batch), at.key, at.options);
    return {{"loss", report.loss},
            {"mean", report.mean},
            {"tokens", report.tokens},
            {"gradient_norm", report.gradient_norm}};
  }
};

}  // namespace detail

/// Trains `student` in `folder` as `run_training` does, by a recipe that learns from given responses (such as
/// `recipes::supervised_kd()`) and a teacher's file: with k = vocabulary what `run_training` computes with
/// the teacher itself, with fewer its lower bound (see sparse_teacher.hpp). `data` is the data set that the
/// file was made of, or `teacher.data()`, which after `write_teacher_file` with a sampler is the teacher's
/// samples.
///
/// Throws FileError before the first step if the file lacks an example of `data` or has another text for it,
/// ValueError for a loss temperature other than the file's or a student with fewer tokens than the file's
/// vocabulary; else as `run_training`.
template <class O, class S, LanguageModel Student, class Policy>
RunResult run_offline(RunFolder& folder, const Gkd<O, FromData, S>& recipe, Student& student,
                      const TeacherFile& teacher, Optimizer<Policy, typename Student::Backend>& optimizer,
                      const Batch& data, const RunOptions& options,
                      const nlohmann::json& config = nlohmann::json::object(),
                      const std::function<nlohmann::json()>& evaluate = {}) {
  check_policy(recipe);
  teacher.require(data);
  detail::OfflineMethod<Gkd<O, FromData, S>, Student, Policy> method{
      recipe, student, teacher, optimizer,
      Batches(data, {.seed = options.seed, .batch_size = options.batch_size})};
  nlohmann::json inputs{{"data", digest(data)}, {"teacher", to_json(teacher.info())}};
  inputs["teacher"]["checksum"] = detail::hexadecimal(teacher.checksum());
  return run_loop(folder, method, parameters(student), optimizer, options, to_json(recipe), inputs, config,
                  evaluate);
}

}  // namespace retort
