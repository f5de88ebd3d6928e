#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "retort/autograd/context.hpp"

/// Comparison of a gradient with central differences, for the library's ops and for yours. In double, with an
/// upstream gradient that differs from element to element, so that transposed or summed gradients are found.
namespace retort {

/// Outcome of a gradient check.
struct GradientCheck {
  double relative_error = 0;  ///< largest |analytic - numeric| of an argument / its largest absolute gradient
  std::string worst;          ///< where: argument, element, both values
};

namespace detail {

/// Irregular weights in (0.5, 1.5): sum(weights * y) is the scalar that is differentiated.
template <Backend B>
TensorOf<B> upstream_weights(const Shape& shape) {
  using T = typename B::Scalar;
  TensorOf<B> w(shape);
  for (Index i = 0; i < w.size(); ++i)
    w.data()[i] = static_cast<T>(1 + 0.5 * std::sin(1.7 * static_cast<double>(i) + 0.3));
  return w;
}

template <Backend B>
double weighted_sum(const TensorOf<B>& y) {
  const auto w = upstream_weights<B>(y.shape());
  double total = 0;
  for (Index i = 0; i < y.size(); ++i) total += static_cast<double>(w.data()[i] * y.data()[i]);
  return total;
}

/// Compares `analytic` with central differences of `evaluate` in the elements of `x` (changed in place and
/// restored).
template <Backend B, class Evaluate>
void compare_argument(GradientCheck& result, const std::string& name, TensorOf<B>& x,
                      const TensorOf<B>& analytic, Evaluate evaluate, double step, Index at_most) {
  double scale = 1e-7, worst = 0;
  Index where = 0;
  double at_analytic = 0, at_numeric = 0;
  const Index n = x.size(), count = std::min(n, at_most);
  for (Index c = 0; c < count; ++c) {
    const Index i = count > 1 ? c * (n - 1) / (count - 1) : 0;
    const auto kept = x.data()[i];
    const double h = step * std::max(1.0, std::abs(static_cast<double>(kept)));
    x.data()[i] = kept + static_cast<typename B::Scalar>(h);
    const double high = evaluate();
    x.data()[i] = kept - static_cast<typename B::Scalar>(h);
    const double low = evaluate();
    x.data()[i] = kept;
    const double numeric = (high - low) / (2 * h);
    const double given = analytic ? static_cast<double>(analytic.data()[i]) : 0;
    scale = std::max({scale, std::abs(numeric), std::abs(given)});
    const double error = std::abs(numeric - given);
    if (error > worst || error != error) {
      worst = error == error ? error : HUGE_VAL;
      where = i, at_analytic = given, at_numeric = numeric;
    }
  }
  if (worst / scale > result.relative_error) {
    result.relative_error = worst / scale;
    result.worst = fmt::format("{}, element {} of shape {}: gradient {:.9g}, central difference {:.9g}", name,
                               where, x.shape(), at_analytic, at_numeric);
  }
}

}  // namespace detail

/// Checks the gradients of `f(context, variables)` with respect to all `inputs`. `f` returns a variable of
/// any shape.
template <Backend B = Cpu<double>, class F>
[[nodiscard]] GradientCheck check_gradients(F f, std::vector<TensorOf<B>> inputs, double step = 1e-5) {
  Tape<B> tape;
  Context<B> context{.tape = &tape};
  std::vector<Variable<B>> variables;
  for (auto& x : inputs) variables.push_back(tape.leaf(x));
  const Variable<B> y = f(context, variables);
  if (y.requires_grad()) tape.backward(y, detail::upstream_weights<B>(y.shape()));
  std::vector<TensorOf<B>> gradients;
  for (const auto& v : variables) gradients.push_back(tape.gradient(v));

  GradientCheck result;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto evaluate = [&] {
      Context<B> plain;
      std::vector<Variable<B>> values;
      for (auto& x : inputs) values.emplace_back(x);
      return detail::weighted_sum<B>(f(plain, values).value());
    };
    detail::compare_argument<B>(result, "argument " + std::to_string(i), inputs[i], gradients[i], evaluate,
                                step, inputs[i].size());
  }
  return result;
}

/// Checks the gradients of `f(context)`, a scalar loss or any variable, with respect to parameters: at most
/// `at_most` elements of each, evenly spread from the first to the last.
template <Backend B, class F>
[[nodiscard]] GradientCheck check_parameter_gradients(F f, const ParameterList<B>& list, Index at_most = 8,
                                                      double step = 1e-5) {
  clear_gradients(list);
  Tape<B> tape;
  Context<B> context{.tape = &tape};
  const Variable<B> y = f(context);
  if (y.requires_grad()) tape.backward(y, detail::upstream_weights<B>(y.shape()));

  GradientCheck result;
  for (auto* p : list) {
    const TensorOf<B> analytic = p->has_grad ? p->grad.clone() : TensorOf<B>{};
    const auto evaluate = [&] {
      Context<B> plain;
      return detail::weighted_sum<B>(f(plain).value());
    };
    detail::compare_argument<B>(result, p->name, p->value, analytic, evaluate, step, at_most);
  }
  clear_gradients(list);  // they are the check's, not the first step's
  return result;
}

}  // namespace retort
