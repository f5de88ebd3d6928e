#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "retort/autograd/context.hpp"
#include "retort/core/batch.hpp"
#include "retort/optim/clip.hpp"
#include "retort/optim/optimizer.hpp"

/// What every training step does with its loss: micro-batches, the check for numbers that are not finite,
/// gradients.
namespace retort {

/// The parts of a training step that are not the recipe's.
struct StepOptions {
  double clip_norm = 1.0;  ///< largest global norm of the gradient; infinity: no clipping
  int micro_batch = 0;  ///< examples in memory at once; 0: the whole batch. Changes memory, and dropout masks
  double rate_factor = 1;  ///< the schedule's factor
};

/// What a step's gradients came to.
struct StepGradients {
  double loss = 0;        ///< sum over the micro-batches
  ClippedNorm clipped{};  ///< norm of the gradient, and the factor that clips it
};

namespace detail {

/// Runs `loss(context)` and its backward pass with every value checked: throws NumericError that names the
/// first op with one that is not finite. Adds to the gradients. Returns if there is none.
template <Backend B, class LossOf>
void name_first_not_finite(RandomKey key, LossOf loss) {
  Tape<B> tape;
  tape.check_finite = true;
  Context<B> context{.tape = &tape, .training = true, .key = key};
  tape.backward(loss(context).value);
}

/// The same for a teacher, which may be nullptr: throws NumericError if its hidden states for `batch` or its
/// head are not finite, with the first op of its forward pass that made them so. Returns if they are finite.
template <class Teacher>
void name_teacher_not_finite(const char* op, const Teacher* teacher, const Batch& batch) {
  if (teacher == nullptr || batch.responses.total() == 0) return;
  using B = typename Teacher::Backend;
  const auto finite = [](const TensorOf<B>& x) {
    return kernels::all_finite(typename B::Device{}, std::as_const(x).data(), x.size());
  };
  Context<B> silent;
  if (!finite(teacher->hidden(silent, batch.prompts, batch.responses).value())) {
    Tape<B> tape;
    tape.check_finite = true;
    Context<B> context{.tape = &tape, .record_frozen = true};
    try {
      (void)teacher->hidden(context, batch.prompts, batch.responses);
    } catch (const NumericError& e) {
      throw NumericError(std::string(e.what()) + ", in the teacher");
    }
    fail<NumericError>(op, "the teacher's hidden states are not finite");
  }
  if (const auto& weight = *teacher->head().weight; !finite(weight.value))
    fail<NumericError>(op, "the teacher's head {} has a value that is not finite", weight.name);
}

/// The gradient of a step in the parameters, clipped. Adds that of `loss_of(context, first, last)` for every
/// micro-batch [first, last) of `size` examples, whose context has the key key.fork(2 + first); `note(loss,
/// first, last)` sees each loss. A loss or a gradient that is not finite is a NumericError that names the
/// first op that made it so, unless `explain(first, last, key)` finds a reason outside the student before.
template <class LossOf, class Note, class Explain, class Policy, Backend B>
StepGradients step_gradients(const char* op, Optimizer<Policy, B>& optimizer, int size, RandomKey key,
                             const StepOptions& options, LossOf loss_of, Note note, Explain explain) {
  const int step = options.micro_batch > 0 ? options.micro_batch : std::max(1, size);
  const auto key_of = [&](int first) { return key.fork(2 + static_cast<std::uint64_t>(first)); };
  const auto look_closer = [&](int first, int last) {
    explain(first, last, key_of(first));
    name_first_not_finite<B>(key_of(first),
                             [&](Context<B>& context) { return loss_of(context, first, last); });
  };
  StepGradients out;
  Tape<B> tape;
  for (int first = 0; first < size; first += step) {
    const int last = std::min(size, first + step);
    Context<B> context{.tape = &tape, .training = true, .key = key_of(first)};
    const auto loss = loss_of(context, first, last);
    const double value = static_cast<double>(loss.value.item());
    if (!std::isfinite(value)) {
      tape.clear();
      look_closer(first, last);
      fail<NumericError>(op, "the loss is {}", value);
    }
    out.loss += value;
    note(loss, first, last);
    tape.backward(loss.value);
    tape.clear();
  }
  try {
    out.clipped = clip_by_norm(optimizer.parameters(), options.clip_norm);
  } catch (const NumericError&) {
    for (int first = 0; first < size; first += step) look_closer(first, std::min(size, first + step));
    throw;
  }
  return out;
}

/// The same with nothing to explain.
template <class LossOf, class Note, class Policy, Backend B>
StepGradients step_gradients(const char* op, Optimizer<Policy, B>& optimizer, int size, RandomKey key,
                             const StepOptions& options, LossOf loss_of, Note note) {
  return step_gradients(op, optimizer, size, key, options, loss_of, note, [](int, int, RandomKey) {});
}

}  // namespace detail

}  // namespace retort
