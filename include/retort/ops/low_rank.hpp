#pragma once

#include <utility>

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/gemm.hpp"

namespace retort {

/// y (N, out) with a low-rank product added to its columns [first, first + rows):
///
///   y[:, first + i] + scale * (x a' b')[:, i]        x (N, in), a (rank, in), b (rows, rank)
///
/// Throws ShapeError where the sizes do not match. Definition: add(y, linear(linear(x, a), b) * scale) where
/// the columns are all.
template <Backend B>
[[nodiscard]] Variable<B> add_low_rank(const Variable<B>& y, const Variable<B>& x, const Variable<B>& a,
                                       const Variable<B>& b, double scale, Index first = 0) {
  using T = typename B::Scalar;
  using kernels::Op;
  if (y.value().rank() != 2 || x.value().rank() != 2 || a.value().rank() != 2 || b.value().rank() != 2 ||
      x.shape()[0] != y.shape()[0] || a.shape()[1] != x.shape()[1] || b.shape()[1] != a.shape()[0] ||
      first < 0 || first + b.shape()[0] > y.shape()[1])
    fail<ShapeError>("add_low_rank",
                     "output {} from column {}, input {}, a {} and b {}: expected (N, out), (N, in), (rank, "
                     "in), (rows, rank) with room for the rows",
                     y.shape(), first, x.shape(), a.shape(), b.shape());
  const Index n = x.shape()[0], in = x.shape()[1], out = y.shape()[1];
  const Index rank = a.shape()[0], rows = b.shape()[0];
  const auto s = static_cast<StatisticOf<B>>(scale);

  const typename B::Device device{};
  TensorOf<B> z({n, rank});  // x a'
  kernels::gemm(device, Op::none, Op::transpose, n, rank, in, T(1), x.data(), in, a.data(), in, T(0),
                z.data(), rank);
  TensorOf<B> sum = y.value().clone();
  kernels::gemm(device, Op::none, Op::transpose, n, rows, rank, s, std::as_const(z).data(), rank, b.data(),
                rank, T(1), sum.data() + first, out);

  return record(
      "add_low_rank", sum,
      [=](const TensorOf<B>& dy) {
        const typename B::Device on{};
        const auto beta = [](Write write) { return write == Write::accumulate ? T(1) : T(0); };
        pass_gradient(y, dy);
        const T* g = dy.data() + first;    // (n, rows), of rows of `out`
        if (auto db = gradient_target(b))  // db = s g' z
          kernels::gemm(on, Op::transpose, Op::none, rows, rank, n, s, g, out, z.data(), rank, beta(db.write),
                        db.data, rank);
        if (!a.requires_grad() && !x.requires_grad()) return;
        TensorOf<B> dz({n, rank});  // s g b
        kernels::gemm(on, Op::none, Op::none, n, rank, rows, s, g, out, b.data(), rank, T(0), dz.data(),
                      rank);
        const T* d = std::as_const(dz).data();
        if (auto da = gradient_target(a))  // da = dz' x
          kernels::gemm(on, Op::transpose, Op::none, rank, in, n, T(1), d, rank, x.data(), in, beta(da.write),
                        da.data, in);
        if (auto dx = gradient_target(x))  // dx = dz a
          kernels::gemm(on, Op::none, Op::none, n, in, rank, T(1), d, rank, a.data(), in, beta(dx.write),
                        dx.data, in);
      },
      y, x, a, b);
}

}  // namespace retort
