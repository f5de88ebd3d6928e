#pragma once

#include <algorithm>
#include <cmath>

#include "retort/autograd/context.hpp"

/// What every training step does with its loss: micro-batches, the check for numbers that are not finite,
/// gradients.
namespace retort {

/// The parts of a training step that are not the recipe's.
struct StepOptions {
  double clip_norm = 1.0;  ///< largest global norm of the gradient; infinity: no clipping
  int micro_batch = 0;  ///< examples in memory at once; 0: the whole batch. Changes memory, and dropout masks
  double rate_factor = 1;  ///< the schedule's factor
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

/// Adds the gradient of `loss_of(context, first, last)` for every micro-batch [first, last) of `size`
/// examples to the parameters, and returns the sum of the losses, whose `value` is propagated. `note(loss,
/// first, last)` sees each of them. A micro-batch's context has the key key.fork(2 + first). A loss that is
/// not finite is a NumericError that names the first op that made it so, in the student, or what
/// `explain(first, last, key)` finds before.
template <Backend B, class LossOf, class Note, class Explain>
double accumulate_gradients(const char* op, int size, int micro_batch, RandomKey key, LossOf loss_of,
                            Note note, Explain explain) {
  double total = 0;
  const int step = micro_batch > 0 ? micro_batch : std::max(1, size);
  Tape<B> tape;
  for (int first = 0; first < size; first += step) {
    const int last = std::min(size, first + step);
    const RandomKey micro_key = key.fork(2 + static_cast<std::uint64_t>(first));
    Context<B> context{.tape = &tape, .training = true, .key = micro_key};
    const auto loss = loss_of(context, first, last);
    const double value = static_cast<double>(loss.value.item());
    if (!std::isfinite(value)) {
      explain(first, last, micro_key);
      name_first_not_finite<B>(micro_key, [&](Context<B>& again) { return loss_of(again, first, last); });
      fail<NumericError>(op, "the loss is {}", value);
    }
    total += value;
    note(loss, first, last);
    tape.backward(loss.value);
    tape.clear();
  }
  return total;
}

/// The same with nothing to explain.
template <Backend B, class LossOf, class Note>
double accumulate_gradients(const char* op, int size, int micro_batch, RandomKey key, LossOf loss_of,
                            Note note) {
  return accumulate_gradients<B>(op, size, micro_batch, key, loss_of, note, [](int, int, RandomKey) {});
}

}  // namespace detail

}  // namespace retort
