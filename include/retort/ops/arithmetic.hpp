#pragma once

#include "retort/autograd/tape.hpp"

/// Sums, products, scaling and reductions. Ops of two variables want equal shapes (ShapeError): nothing is
/// broadcast.
namespace retort {

/// a + b.
template <Backend B>
[[nodiscard]] Variable<B> add(const Variable<B>& a, const Variable<B>& b) {
  require_shape("add", "second argument", b.shape(), a.shape());
  TensorOf<B> y(a.shape());
  kernels::map(typename B::Device{}, Write::overwrite, y.size(), functors::Add{}, y.data(), a.data(),
               b.data());
  return record(
      "add", y,
      [a, b](const TensorOf<B>& dy) {
        pass_gradient(a, dy);
        pass_gradient(b, dy);
      },
      a, b);
}

/// a - b.
template <Backend B>
[[nodiscard]] Variable<B> subtract(const Variable<B>& a, const Variable<B>& b) {
  require_shape("subtract", "second argument", b.shape(), a.shape());
  TensorOf<B> y(a.shape());
  kernels::map(typename B::Device{}, Write::overwrite, y.size(), functors::Subtract{}, y.data(), a.data(),
               b.data());
  return record(
      "subtract", y,
      [a, b](const TensorOf<B>& dy) {
        pass_gradient(a, dy);
        if (auto db = gradient_target(b))
          kernels::map(typename B::Device{}, db.write, dy.size(), functors::Negate{}, db.data, dy.data());
      },
      a, b);
}

/// a * b, element by element.
template <Backend B>
[[nodiscard]] Variable<B> multiply(const Variable<B>& a, const Variable<B>& b) {
  require_shape("multiply", "second argument", b.shape(), a.shape());
  TensorOf<B> y(a.shape());
  const functors::Multiply product;
  kernels::map(typename B::Device{}, Write::overwrite, y.size(), product, y.data(), a.data(), b.data());
  return record(
      "multiply", y,
      [a, b, product](const TensorOf<B>& dy) {
        if (auto da = gradient_target(a))
          kernels::map(typename B::Device{}, da.write, dy.size(), product, da.data, dy.data(), b.data());
        if (auto db = gradient_target(b))
          kernels::map(typename B::Device{}, db.write, dy.size(), product, db.data, dy.data(), a.data());
      },
      a, b);
}

/// factor * x.
template <Backend B>
[[nodiscard]] Variable<B> scale(const Variable<B>& x, double factor) {
  TensorOf<B> y(x.shape());
  const functors::Times times{factor};
  kernels::map(typename B::Device{}, Write::overwrite, y.size(), times, y.data(), x.data());
  return record(
      "scale", y,
      [x, times](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x))
          kernels::map(typename B::Device{}, dx.write, dy.size(), times, dx.data, dy.data());
      },
      x);
}

/// Sum of all elements: a scalar, added in double.
template <Backend B>
[[nodiscard]] Variable<B> sum(const Variable<B>& x) {
  using T = typename B::Scalar;
  const double total =
      kernels::sum_of(typename B::Device{}, x.data(), x.value().size(), functors::Identity{});
  return record(
      "sum", TensorOf<B>::full({}, static_cast<T>(total)),
      [x](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x)) {
          const T g = dy.item();
          kernels::map(typename B::Device{}, dx.write, x.value().size(),
                       functors::Constant{static_cast<double>(g)}, dx.data, x.data());
        }
      },
      x);
}

/// The same elements under another shape of the same size (else ShapeError). Shares the memory.
template <Backend B>
[[nodiscard]] Variable<B> reshape(const Variable<B>& x, const Shape& shape) {
  return record(
      "reshape", x.value().reshape(shape), [x](const TensorOf<B>& dy) { pass_gradient(x, dy); }, x);
}

}  // namespace retort
