#pragma once

#include <cmath>
#include <utility>

#include "retort/core/clock.hpp"
#include "retort/distill/gkd.hpp"
#include "retort/optim/clip.hpp"
#include "retort/optim/optimizer.hpp"
#include "retort/training/accumulate.hpp"

namespace retort {

/// What happened in a step.
struct StepReport {
  double loss = 0;           ///< the minimised value
  double mean = 0;           ///< mean over response tokens, nats
  double gradient_norm = 0;  ///< before clipping
  Index tokens = 0;          ///< response tokens trained on
  Source source = Source::data;
  double sampling_seconds = 0;  ///< of drawing the responses
};

namespace detail {

/// Runs the loss of `batch` again with every value checked: throws NumericError that names the first op with
/// one that is not finite, in the teacher, the student or the loss.
template <class Recipe, class Student, class Teacher>
void find_not_finite(const Recipe& recipe, const Student& student, const Teacher* teacher, const Batch& batch,
                     const Normaliser& total, RandomKey key) {
  using B = typename Student::Backend;
  name_teacher_not_finite("training_step", teacher, batch);
  name_first_not_finite<B>(key, [&](Context<B>& context) {
    return objective_loss(recipe.divergence, context, student, teacher, batch, total, recipe.options);
  });
}

/// The recipe's responses. When logits that are not finite end the sampling, the op that made them is found
/// with the data's responses.
template <class Recipe, class Student, class Teacher>
[[nodiscard]] Batch responses_of(const Recipe& recipe, const Student& student, const Teacher* teacher,
                                 const Batch& batch, RandomKey key, Source* source) {
  try {
    return recipe.responses(key, student, teacher, batch, source);
  } catch (const NumericError&) {
    find_not_finite(recipe, student, teacher, batch, Normaliser::of(batch.responses), key);
    throw;
  }
}

}  // namespace detail

/// One step of GKD's algorithm 1 and of every recipe that is a case of it. `key` belongs to the step: the
/// same key, batch and weights give the same step. Throws NumericError, before the weights are touched, when
/// the loss or a gradient is not finite, naming the first op that made it so. `observe` sees the rows of a
/// divergence, once.
template <class Recipe, LanguageModel Student, LanguageModel Teacher, class Policy>
StepReport training_step(const Recipe& recipe, const Student& student, const Teacher* teacher,
                         Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& batch,
                         RandomKey key, const StepOptions& options = {},
                         const RowsObserver<typename Student::Backend>& observe = {}) {
  using B = typename Student::Backend;
  StepReport report;

  // 1. Outputs: the data's, or sampled from the student (or the teacher). No gradient flows through sampling.
  const double began = steady_seconds();
  const Batch on = detail::responses_of(recipe, student, teacher, batch, key, &report.source);
  report.sampling_seconds = steady_seconds() - began;
  const Normaliser total = Normaliser::of(on.responses);
  report.tokens = total.tokens;

  // 2. Loss and gradient, a micro-batch at a time; every micro-batch is weighted as a part of the whole.
  optimizer.zero_grad();
  const RowsObserver<B>* look = &observe;  // for the first look at a micro-batch only
  const RowsObserver<B> nobody;
  const auto micro = [&](int first, int last) {
    return first == 0 && last == on.size() ? on : on.slice(first, last);
  };
  const StepGradients gradients = detail::step_gradients(
      "training_step", optimizer, on.size(), key, options,
      [&](Context<B>& context, int first, int last) {
        return objective_loss(recipe.divergence, context, student, teacher, micro(first, last), total,
                              recipe.options, *std::exchange(look, &nobody));
      },
      [&](const Loss<B>& loss, int, int) {
        look = &observe;
        if (loss.tokens > 0)
          report.mean += loss.mean * static_cast<double>(loss.tokens) / static_cast<double>(total.tokens);
      },
      [&](int first, int last, RandomKey micro_key) {
        detail::find_not_finite(recipe, student, teacher, micro(first, last), total, micro_key);
      });
  report.loss = gradients.loss;
  report.gradient_norm = gradients.clipped.norm;

  // 3. Update, the gradient clipped.
  optimizer.step({.rate_factor = options.rate_factor, .gradient_scale = gradients.clipped.scale});
  return report;
}

}  // namespace retort
