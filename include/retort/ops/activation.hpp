#pragma once

#include "retort/autograd/tape.hpp"
#include "retort/core/activations.hpp"
#include "retort/core/functors.hpp"

namespace retort {

/// act(x), element by element, any shape. `act` is an activation policy (core/activations.hpp) or a user's
/// own.
template <Activation A, Backend B>
[[nodiscard]] Variable<B> activate(const A& act, const Variable<B>& x) {
  TensorOf<B> y(x.shape());
  kernels::map(typename B::Device{}, Write::overwrite, y.size(), functors::Activate<A>{act}, y.data(),
               x.data());
  return record(
      "activate", y,
      [act, x](const TensorOf<B>& dy) {
        if (auto dx = gradient_target(x))
          kernels::map(typename B::Device{}, dx.write, dy.size(), functors::ActivateGradient<A>{act}, dx.data,
                       dy.data(), x.data());
      },
      x);
}

/// act(gate) * value: the gated linear units of Shazeer 2020 once both projections are done. Equals
/// multiply(activate(act, gate), value). Throws ShapeError unless both have one shape.
template <Activation A, Backend B>
[[nodiscard]] Variable<B> gated(const A& act, const Variable<B>& gate, const Variable<B>& value) {
  require_shape("gated", "value", value.shape(), gate.shape());
  TensorOf<B> y(gate.shape());
  kernels::map(typename B::Device{}, Write::overwrite, y.size(), functors::Gated<A>{act}, y.data(),
               gate.data(), value.data());
  return record(
      "gated", y,
      [act, gate, value](const TensorOf<B>& dy) {
        if (auto dg = gradient_target(gate))
          kernels::map(typename B::Device{}, dg.write, dy.size(), functors::GatedGradient<A>{act}, dg.data,
                       dy.data(), gate.data(), value.data());
        if (auto dv = gradient_target(value))
          kernels::map(typename B::Device{}, dv.write, dy.size(), functors::GatedValueGradient<A>{act},
                       dv.data, dy.data(), gate.data());
      },
      gate, value);
}

}  // namespace retort
