#pragma once

#include "retort/autograd/context.hpp"

namespace retort {

/// Recomputation (Chen et al. 2016, "Training deep nets with sublinear memory cost"): runs `f(context, x)`
/// without recording and keeps only x; the backward pass runs it again on a tape of its own. Values,
/// gradients and random numbers are those of a plain call; memory is the inputs' instead of every
/// intermediate's, time one more forward.
template <Backend B, class F>
[[nodiscard]] Variable<B> checkpoint(Context<B>& context, F f, const Variable<B>& x) {
  if (context.tape == nullptr) return f(context, x);
  const Context<B> start = context;
  Context<B> silent = context;
  silent.tape = nullptr;
  const Variable<B> y = f(silent, Variable<B>(x.value()));
  context.draws = silent.draws;
  return context.tape->record("checkpoint", y.value(), [f, x, start](const TensorOf<B>& dy) {
    Tape<B> inner;
    inner.check_finite = start.tape->check_finite;
    Context<B> again = start;
    again.tape = &inner;
    const Variable<B> input = x.requires_grad() ? inner.leaf(x.value()) : Variable<B>(x.value());
    inner.backward(f(again, input), dy);
    if (x.requires_grad())
      if (const auto dx = inner.gradient(input)) pass_gradient(x, dx);
  });
}

}  // namespace retort
