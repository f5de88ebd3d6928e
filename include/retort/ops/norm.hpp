#pragma once

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/norm.hpp"

namespace retort {

/// (x - mean) / sqrt(var + epsilon) * gain + bias over the last dimension (Ba et al. 2016), any leading
/// dimensions; the variance is the biased one. gain and bias (n), else ShapeError.
template <Backend B>
[[nodiscard]] Variable<B> layer_norm(const Variable<B>& x, const Variable<B>& gain, const Variable<B>& bias,
                                     double epsilon) {
  using S = StatisticOf<B>;
  const Index rows = x.shape().rows(), n = x.shape().last();
  require_shape("layer_norm", "gain", gain.shape(), Shape{n});
  require_shape("layer_norm", "bias", bias.shape(), Shape{n});
  TensorOf<B> y(x.shape());
  StatisticTensor<B> mean({rows}), rstd({rows});
  kernels::layer_norm(typename B::Device{}, rows, n, x.data(), gain.data(), bias.data(),
                      static_cast<S>(epsilon), y.data(), mean.data(), rstd.data());
  return record(
      "layer_norm", y,
      [=](const TensorOf<B>& dy) {
        const typename B::Device on{};
        const S *m = mean.data(), *s = rstd.data();
        if (auto dg = gradient_target(gain))
          kernels::norm_backward_gain(on, dg.write, rows, n, x.data(), m, s, dy.data(), dg.data);
        if (auto db = gradient_target(bias)) kernels::sum_rows(on, db.write, rows, n, dy.data(), db.data);
        if (auto dx = gradient_target(x))
          kernels::norm_backward_input(on, dx.write, rows, n, x.data(), gain.data(), m, s, dy.data(),
                                       dx.data);
      },
      x, gain, bias);
}

/// x / sqrt(mean(x^2) + epsilon) * gain over the last dimension (Zhang & Sennrich 2019): T5's and LLaMA's
/// norm, any leading dimensions. gain (n), else ShapeError.
template <Backend B>
[[nodiscard]] Variable<B> rms_norm(const Variable<B>& x, const Variable<B>& gain, double epsilon) {
  using S = StatisticOf<B>;
  const Index rows = x.shape().rows(), n = x.shape().last();
  require_shape("rms_norm", "gain", gain.shape(), Shape{n});
  TensorOf<B> y(x.shape());
  StatisticTensor<B> rstd({rows});
  kernels::rms_norm(typename B::Device{}, rows, n, x.data(), gain.data(), static_cast<S>(epsilon), y.data(),
                    rstd.data());
  return record(
      "rms_norm", y,
      [=](const TensorOf<B>& dy) {
        const typename B::Device on{};
        const S *none = nullptr, *s = rstd.data();
        if (auto dg = gradient_target(gain))
          kernels::norm_backward_gain(on, dg.write, rows, n, x.data(), none, s, dy.data(), dg.data);
        if (auto dx = gradient_target(x))
          kernels::norm_backward_input(on, dx.write, rows, n, x.data(), gain.data(), none, s, dy.data(),
                                       dx.data);
      },
      x, gain);
}

}  // namespace retort
