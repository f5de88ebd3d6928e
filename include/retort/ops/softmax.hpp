#pragma once

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/softmax.hpp"

namespace retort {

/// exp(x) / sum exp(x) over the last dimension, any leading ones. -inf entries give 0; a row of nothing else
/// gives zeros.
template <Backend B>
[[nodiscard]] Variable<B> softmax(const Variable<B>& x) {
  const Index rows = x.shape().rows(), n = x.shape().last();
  TensorOf<B> y(x.shape());
  kernels::softmax(typename B::Device{}, rows, n, x.data(), y.data());
  return record(
      "softmax", y,
      [x, y, rows, n](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x))
          kernels::softmax_backward(typename B::Device{}, dx.write, rows, n, y.data(), dy.data(), dx.data);
      },
      x);
}

/// x - log sum exp(x) over the last dimension, any leading ones: exact where log(softmax(x)) would underflow.
template <Backend B>
[[nodiscard]] Variable<B> log_softmax(const Variable<B>& x) {
  const Index rows = x.shape().rows(), n = x.shape().last();
  TensorOf<B> y(x.shape());
  kernels::log_softmax(typename B::Device{}, rows, n, x.data(), y.data());
  return record(
      "log_softmax", y,
      [x, y, rows, n](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x))
          kernels::log_softmax_backward(typename B::Device{}, dx.write, rows, n, y.data(), dy.data(),
                                        dx.data);
      },
      x);
}

}  // namespace retort
