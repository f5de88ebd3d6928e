#pragma once

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/gemm.hpp"
#include "retort/kernels/cpu/norm.hpp"

namespace retort {

/// y (N, out) = x (N, in) w' + bias, w (out, in) as PyTorch stores it, bias (out) or nullptr. Throws
/// ShapeError where the widths do not match.
template <Backend B>
[[nodiscard]] Variable<B> linear(const Variable<B>& x, const Variable<B>& w,
                                 const Variable<B>* bias = nullptr) {
  using T = typename B::Scalar;
  using kernels::Op;
  if (x.value().rank() != 2 || w.value().rank() != 2 || x.shape()[1] != w.shape()[1])
    fail<ShapeError>("linear", "input {} and weight {}: expected (rows, in) and (out, in)", x.shape(),
                     w.shape());
  const Index rows = x.shape()[0], in = x.shape()[1], out = w.shape()[0];
  if (bias != nullptr) require_shape("linear", "bias", bias->shape(), Shape{out});

  TensorOf<B> y({rows, out});
  kernels::linear(typename B::Device{}, rows, out, in, StatisticOf<B>(1), x.data(), w.data(),
                  bias != nullptr ? bias->data() : nullptr, y.data());

  const Variable<B> b = bias != nullptr ? *bias : Variable<B>{};
  return record(
      "linear", y,
      [x, w, b, rows, in, out](const TensorOf<B>& dy) {
        const typename B::Device on{};
        const auto beta = [](Write write) { return write == Write::accumulate ? T(1) : T(0); };
        if (auto dx = gradient_target(x))  // dx = dy w
          kernels::gemm(on, Op::none, Op::none, rows, in, out, T(1), dy.data(), out, w.data(), in,
                        beta(dx.write), dx.data, in);
        if (auto dw = gradient_target(w))  // dw = dy' x
          kernels::gemm(on, Op::transpose, Op::none, out, in, rows, T(1), dy.data(), out, x.data(), in,
                        beta(dw.write), dw.data, in);
        if (auto db = gradient_target(b)) kernels::sum_rows(on, db.write, rows, out, dy.data(), db.data);
      },
      x, w, b);
}

/// Batched matrix product: a (..., m, k) times b (..., k, n), or b (..., n, k) if `transpose_b`; equal
/// leading dimensions, else ShapeError. The plain building block that fused attention is tested against.
template <Backend B>
[[nodiscard]] Variable<B> matmul(const Variable<B>& a, const Variable<B>& b, bool transpose_b = false) {
  using T = typename B::Scalar;
  using kernels::Op;
  const int rank = a.value().rank();
  const bool ranks_fit = rank >= 2 && b.value().rank() == rank;
  const Index m = ranks_fit ? a.shape()[-2] : 0, k = ranks_fit ? a.shape()[-1] : 0;
  const Index n = ranks_fit ? b.shape()[transpose_b ? -2 : -1] : 0;
  bool fits = ranks_fit && b.shape()[transpose_b ? -1 : -2] == k;
  for (int i = 0; fits && i < rank - 2; ++i) fits = a.shape()[i] == b.shape()[i];
  if (!fits)
    fail<ShapeError>("matmul", "{} times {}{}", a.shape(), b.shape(), transpose_b ? " transposed" : "");
  Index batch = 1;
  for (int i = 0; i < rank - 2; ++i) batch *= a.shape()[i];
  TensorOf<B> y(a.shape().with(-1, n));
  kernels::gemm_batched(typename B::Device{}, batch, Op::none, transpose_b ? Op::transpose : Op::none, m, n,
                        k, T(1), a.data(), k, m * k, b.data(), transpose_b ? k : n, k * n, T(0), y.data(), n,
                        m * n);
  return record(
      "matmul", y,
      [=](const TensorOf<B>& dy) {
        const typename B::Device on{};
        const auto beta = [](Write write) { return write == Write::accumulate ? T(1) : T(0); };
        const auto da = gradient_target(a);
        const auto db = gradient_target(b);
        const T *g = dy.data(), *pa = a.data(), *pb = b.data();
        if (da)
          kernels::gemm_batched(on, batch, Op::none, transpose_b ? Op::none : Op::transpose, m, k, n, T(1), g,
                                n, m * n, pb, transpose_b ? k : n, k * n, beta(da.write), da.data, k, m * k);
        if (db && transpose_b)
          kernels::gemm_batched(on, batch, Op::transpose, Op::none, n, k, m, T(1), g, n, m * n, pa, k, m * k,
                                beta(db.write), db.data, k, k * n);
        if (db && !transpose_b)
          kernels::gemm_batched(on, batch, Op::transpose, Op::none, k, n, m, T(1), pa, k, m * k, g, n, m * n,
                                beta(db.write), db.data, n, k * n);
      },
      a, b);
}

}  // namespace retort
