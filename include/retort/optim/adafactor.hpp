#pragma once

#include <algorithm>
#include <cmath>

#include "retort/kernels/cpu/adafactor.hpp"
#include "retort/optim/optimizer.hpp"

namespace retort {

/// Adafactor (Shazeer & Stern 2018, algorithms 4 and 5), the optimizer of T5 and of the GKD experiments. Adam
/// without a first moment, whose second moment of a matrix is kept as its row means R and column means C.
/// With g the gradient, at update t, beta2 = 1 - t^-decay_rate:
///
///   R = beta2 R + (1 - beta2) row_means(g^2 + epsilon1)     C likewise, of the columns
///   u = g / sqrt(R C / mean(R))                             u = u / max(1, rms(u) / clip_threshold)
///   w = w - rate max(epsilon2, rms(w)) u
///
/// Parameters of rank 1 keep the second moment whole; of rank 3 and more the last two dimensions are the
/// matrix. `rate` is the learning rate, with `relative_step` the lesser of it and 1 / sqrt(t) (the paper's
/// setting is learning_rate = 1e-2). Without `scale_parameter` the factor max(epsilon2, rms(w)) is left out.
/// `beta1` > 0 adds a moving average of the updates. Decay is by rate x weight_decay, where
/// `Parameter::decay` says so.
struct Adafactor {
  static constexpr const char* name = "adafactor";
  double learning_rate = 1e-3;
  double decay_rate = 0.8;
  double epsilon1 = 1e-30;
  double epsilon2 = 1e-3;
  double clip_threshold = 1;
  double beta1 = 0;
  double weight_decay = 0;
  bool scale_parameter = true;
  bool relative_step = false;

  /// The optimizer of these parameters.
  template <Backend B>
  [[nodiscard]] auto on(ParameterList<B> parameters) const {
    return Optimizer<Adafactor, B>(*this, std::move(parameters));
  }

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape& shape) const {
    std::vector<StateTensor> state;
    if (shape.rank() < 2) {
      state.push_back({"second_moment", shape});
    } else {
      Shape rows, columns;
      for (int i = 0; i < shape.rank(); ++i) {
        if (i != shape.rank() - 1) rows.append(shape[i]);
        if (i != shape.rank() - 2) columns.append(shape[i]);
      }
      state.push_back({"row_moment", rows});
      state.push_back({"column_moment", columns});
    }
    if (beta1 > 0) state.push_back({"first_moment", shape});
    return state;
  }

  template <Backend B>
  void update(Parameter<B>& parameter, std::span<TensorOf<B>> state, const UpdateStep& step) const {
    const auto t = static_cast<double>(step.number);
    const double rate = relative_step ? std::min(learning_rate, 1 / std::sqrt(t)) : learning_rate;
    const kernels::AdafactorStep s{.rate = rate * step.rate_factor,
                                   .beta1 = beta1,
                                   .beta2 = 1 - std::pow(t, -decay_rate),
                                   .epsilon1 = epsilon1,
                                   .epsilon2 = epsilon2,
                                   .clip_threshold = clip_threshold,
                                   .weight_decay = parameter.decay ? weight_decay : 0,
                                   .scale_parameter = scale_parameter,
                                   .gradient_scale = step.gradient_scale};
    const typename B::Device device;
    const Shape& shape = parameter.shape();
    auto* weight = parameter.value.data();
    const auto* gradient = std::as_const(parameter.grad).data();
    auto* first = beta1 > 0 ? state.back().data() : nullptr;
    if (shape.rank() < 2)
      kernels::adafactor_whole(device, s, shape.size(), weight, gradient, state[0].data(), first);
    else if (shape.size() > 0)
      kernels::adafactor_factored(device, s, shape.size() / (shape[-2] * shape[-1]), shape[-2], shape[-1],
                                  weight, gradient, state[0].data(), state[1].data(), first);
  }

  [[nodiscard]] constexpr const char* problem() const {
    if (!(learning_rate >= 0)) return "learning_rate must not be negative";
    if (!(decay_rate > 0)) return "decay_rate must be positive";
    if (!(epsilon1 > 0)) return "epsilon1 must be positive";
    if (!(epsilon2 >= 0)) return "epsilon2 must not be negative";
    if (!(clip_threshold > 0)) return "clip_threshold must be positive";
    if (!(beta1 >= 0 && beta1 < 1)) return "beta1 must be at least 0 and less than 1";
    return weight_decay >= 0 ? nullptr : "weight_decay must not be negative";
  }
  template <class F>
  void each_field(F&& f) const {
    f("learning_rate", learning_rate);
    f("decay_rate", decay_rate);
    f("epsilon1", epsilon1);
    f("epsilon2", epsilon2);
    f("clip_threshold", clip_threshold);
    f("beta1", beta1);
    f("weight_decay", weight_decay);
    f("scale_parameter", scale_parameter);
    f("relative_step", relative_step);
  }
};

}  // namespace retort
