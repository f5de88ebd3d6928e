#pragma once

#include <array>
#include <tuple>
#include <type_traits>

#include "retort/autograd/context.hpp"

namespace retort {

/// Recomputation (Chen et al. 2016, "Training deep nets with sublinear memory cost"): runs `f(context, x...)`
/// without recording and keeps only the inputs; the backward pass runs it again on a tape of its own. Values,
/// gradients and random numbers are those of a plain call; memory is the inputs' instead of every
/// intermediate's, time one more forward. Every variable that wants a gradient must be an input: ValueError
/// if f captured one. While the tape checks for NaN nothing is recomputed, so that the op at fault is named.
template <Backend B, class F, class... Inputs>
requires(std::is_same_v<Inputs, Variable<B>>&&...)
    [[nodiscard]] Variable<B> checkpoint(Context<B>& context, F f, const Variable<B>& first,
                                         const Inputs&... rest) {
  if (context.tape == nullptr || context.tape->check_finite) return f(context, first, rest...);
  const Context<B> start = context;
  Context<B> silent = context;
  silent.tape = nullptr;
  const Variable<B> y = f(silent, Variable<B>(first.value()), Variable<B>(rest.value())...);
  if (y.requires_grad())
    fail<ValueError>("checkpoint",
                     "the function captured a variable that wants a gradient: pass it as an input");
  context.draws = silent.draws;
  for (const auto* x : {&first, &rest...})
    if (x->requires_grad()) context.tape->require_open(*x, "checkpoint");

  return context.tape->record("checkpoint", y.value(), [f, start, first, rest...](const TensorOf<B>& dy) {
    Tape<B> inner;
    Context<B> again = start;
    again.tape = &inner;
    const auto restart = [&](const Variable<B>& x) {
      return x.requires_grad() ? inner.leaf(x.value()) : Variable<B>(x.value());
    };
    const std::array outer{first, rest...};
    std::array<Variable<B>, sizeof...(Inputs) + 1> inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i] = restart(outer[i]);
    const Variable<B> recomputed = std::apply([&](const auto&... x) { return f(again, x...); }, inputs);
    if (!recomputed.requires_grad()) return;  // nothing in it is trainable
    inner.backward(recomputed, dy);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].requires_grad())
        if (const auto dx = inner.gradient(inputs[i])) pass_gradient(outer[i], dx);
  });
}

}  // namespace retort
