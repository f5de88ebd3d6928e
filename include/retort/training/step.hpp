#pragma once

#include <cmath>

#include "retort/distill/gkd.hpp"
#include "retort/optim/clip.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {

/// The parts of a training step that are not the recipe's.
struct StepOptions {
  double clip_norm = 1.0;  ///< largest global norm of the gradient; infinity: no clipping
  int micro_batch = 0;  ///< examples in memory at once; 0: the whole batch. Changes memory, and dropout masks
  double rate_factor = 1;  ///< the schedule's factor
};

/// What happened in a step.
struct StepReport {
  double loss = 0;           ///< the minimised value
  double mean = 0;           ///< mean over response tokens, nats
  double gradient_norm = 0;  ///< before clipping
  Index tokens = 0;          ///< response tokens trained on
  Source source = Source::data;
};

namespace detail {

/// Runs `loss(context)` with every value checked: throws NumericError that names the first op with one that
/// is not finite. Returns if there is none.
template <Backend B, class LossOf>
void name_first_not_finite(RandomKey key, LossOf loss) {
  Tape<B> tape;
  tape.check_finite = true;
  Context<B> context{.tape = &tape, .training = true, .key = key};
  (void)loss(context);
}

/// Runs the loss of `batch` again with every value checked: throws NumericError that names the first op with
/// one that is not finite, in the student or in the loss, or the teacher.
template <class Recipe, class Student, class Teacher>
void find_not_finite(const Recipe& recipe, const Student& student, const Teacher* teacher, const Batch& batch,
                     const Normaliser& total, RandomKey key) {
  using B = typename Student::Backend;
  if (teacher != nullptr) {
    Context<B> silent;
    const auto hidden = teacher->hidden(silent, batch.prompts, batch.responses).value();
    if (!kernels::all_finite(typename B::Device{}, hidden.data(), hidden.size()))
      fail<NumericError>("training_step", "the teacher's hidden states are not finite");
  }
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
/// the loss or a gradient is not finite, naming the first op that made it so.
template <class Recipe, LanguageModel Student, LanguageModel Teacher, class Policy>
StepReport training_step(const Recipe& recipe, const Student& student, const Teacher* teacher,
                         Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& batch,
                         RandomKey key, const StepOptions& options = {}) {
  using B = typename Student::Backend;
  StepReport report;

  // 1. Outputs: the data's, or sampled from the student (or the teacher). No gradient flows through sampling.
  const Batch on = detail::responses_of(recipe, student, teacher, batch, key, &report.source);
  const Normaliser total = Normaliser::of(on.responses);
  report.tokens = total.tokens;

  // 2. Loss and gradient, a micro-batch at a time; every micro-batch is weighted as a part of the whole.
  optimizer.zero_grad();
  const int size = options.micro_batch > 0 ? options.micro_batch : std::max(1, on.size());
  Tape<B> tape;
  for (int first = 0; first < on.size(); first += size) {
    const int last = std::min(on.size(), first + size);
    const Batch micro = size >= on.size() ? on : on.slice(first, last);
    const RandomKey micro_key = key.fork(2 + static_cast<std::uint64_t>(first));
    Context<B> context{.tape = &tape, .training = true, .key = micro_key};
    const auto loss =
        objective_loss(recipe.divergence, context, student, teacher, micro, total, recipe.options);
    const double value = static_cast<double>(loss.value.item());
    if (!std::isfinite(value)) {
      detail::find_not_finite(recipe, student, teacher, micro, total, micro_key);
      fail<NumericError>("training_step", "the loss is {}", value);
    }
    report.loss += value;
    if (loss.tokens > 0)
      report.mean += loss.mean * static_cast<double>(loss.tokens) / static_cast<double>(total.tokens);
    tape.backward(loss.value);
    tape.clear();
  }

  // 3. Clip and update.
  const ClippedNorm clipped = clip_by_norm(optimizer.parameters(), options.clip_norm);
  report.gradient_norm = clipped.norm;
  optimizer.step({.rate_factor = options.rate_factor, .gradient_scale = clipped.scale});
  return report;
}

}  // namespace retort
