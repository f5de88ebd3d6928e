#pragma once

#include "retort/core/activations.hpp"
#include "retort/ops/activation.hpp"
#include "retort/ops/linear.hpp"

namespace retort {

/// Whether `gelu_mlp` is one op: on a GPU in bf16, where GELU and its derivative are done by the matrix
/// products around them, of rows that begin at 16 bytes.
template <Backend B>
[[nodiscard]] constexpr bool gelu_mlp_is_fused([[maybe_unused]] Index in, [[maybe_unused]] Index hidden,
                                               [[maybe_unused]] Index out) {
  if constexpr (std::same_as<B, Cuda<bf16>>) return in % 8 == 0 && hidden % 8 == 0 && out % 8 == 0;
  return false;
}

/// A feed-forward network: x (N, in) to (N, out) by way of `hidden` GELUs (the tanh approximation); up
/// (hidden, in), down (out, hidden), biases (hidden), (out). Throws ShapeError where the widths do not match.
///
/// Definition: linear(activate(GeluTanh{}, linear(x, up, &up_bias)), down, &down_bias).
template <Backend B>
[[nodiscard]] Variable<B> gelu_mlp(const Variable<B>& x, const Variable<B>& up, const Variable<B>& up_bias,
                                   const Variable<B>& down, const Variable<B>& down_bias) {
  if constexpr (std::same_as<B, Cuda<bf16>>) {
    if (x.value().rank() != 2 || up.value().rank() != 2 || down.value().rank() != 2 ||
        x.shape()[1] != up.shape()[1] || down.shape()[1] != up.shape()[0])
      fail<ShapeError>("gelu_mlp",
                       "input {}, weights {} and {}: expected (rows, in), (hidden, in), (out, hidden)",
                       x.shape(), up.shape(), down.shape());
    const Index rows = x.shape()[0], in = x.shape()[1], hidden = up.shape()[0], out = down.shape()[0];
    require_shape("gelu_mlp", "bias", up_bias.shape(), Shape{hidden});
    require_shape("gelu_mlp", "bias", down_bias.shape(), Shape{out});
    if (rows > 0 && gelu_mlp_is_fused<B>(in, hidden, out)) {
      const typename B::Device device{};
      const bool recorded = x.requires_grad() || up.requires_grad() || up_bias.requires_grad();
      TensorOf<B> h({rows, hidden}), pre = recorded ? TensorOf<B>({rows, hidden}) : TensorOf<B>{},
                                     y({rows, out});
      kernels::linear_gelu(device, rows, hidden, in, x.data(), up.data(), up_bias.data(), h.data(),
                           recorded ? pre.data() : nullptr);
      kernels::linear(device, rows, out, hidden, 1.0f, std::as_const(h).data(), down.data(), down_bias.data(),
                      y.data());
      return record(
          "gelu_mlp", y,
          [=](const TensorOf<B>& dy) {
            using kernels::Op;
            const typename B::Device on{};
            const auto beta = [](Write write) { return write == Write::accumulate ? 1.0f : 0.0f; };
            if (auto dw = gradient_target(down))  // dy' h
              kernels::gemm(on, Op::transpose, Op::none, out, hidden, rows, 1.0f, dy.data(), out, h.data(),
                            hidden, beta(dw.write), dw.data, hidden);
            if (auto db = gradient_target(down_bias))
              kernels::sum_rows(on, db.write, rows, out, dy.data(), db.data);
            if (!recorded) return;
            TensorOf<B> d_pre({rows, hidden});  // (dy down) * gelu'(pre)
            kernels::linear_gelu_gradient(on, rows, hidden, out, dy.data(), down.data(), pre.data(),
                                          d_pre.data());
            if (auto db = gradient_target(up_bias))
              kernels::sum_rows(on, db.write, rows, hidden, std::as_const(d_pre).data(), db.data);
            if (auto dw = gradient_target(up))  // d_pre' x
              kernels::gemm(on, Op::transpose, Op::none, hidden, in, rows, 1.0f, std::as_const(d_pre).data(),
                            hidden, x.data(), in, beta(dw.write), dw.data, in);
            if (auto dx = gradient_target(x))  // d_pre up
              kernels::gemm(on, Op::none, Op::none, rows, in, hidden, 1.0f, std::as_const(d_pre).data(),
                            hidden, up.data(), in, beta(dx.write), dx.data, in);
          },
          x, up, up_bias, down, down_bias);
    }
  }
  return linear(activate(GeluTanh{}, linear(x, up, &up_bias)), down, &down_bias);
}

}  // namespace retort
