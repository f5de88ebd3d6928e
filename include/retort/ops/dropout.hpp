#pragma once

#include "retort/autograd/context.hpp"
#include "retort/kernels/cpu/random.hpp"

namespace retort {

/// Zeroes elements with probability p and scales the rest by 1 / (1 - p), when the context trains; else
/// returns x (Srivastava et al. 2014). The mask is a function of the context's key, so a recomputed pass
/// repeats it. Throws ValueError unless 0 <= p < 1.
template <Backend B>
[[nodiscard]] Variable<B> dropout(Context<B>& context, const Variable<B>& x, double p) {
  if (!(p >= 0 && p < 1)) fail<ValueError>("dropout", "probability {} is outside [0, 1)", p);
  if (!context.training || p == 0) return x;
  const RandomKey key = context.next_key();
  TensorOf<B> y(x.shape());
  kernels::dropout(typename B::Device{}, Write::overwrite, key, y.size(), p, x.data(), y.data());
  return record(
      "dropout", y,
      [x, key, p](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x))
          kernels::dropout(typename B::Device{}, dx.write, key, dy.size(), p, dy.data(), dx.data);
      },
      x);
}

}  // namespace retort
