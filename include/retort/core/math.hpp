#pragma once

#include <cmath>
#include <type_traits>

#include "retort/core/host_device.hpp"

/// The maths names that policy functors use. A functor is generic over its number `N`: `float`, `double`, or
/// a SIMD pack (kernels/cpu/pack.hpp), all of which have these functions. Choose with `select`, never with
/// `if`.
namespace retort::math {

template <class N>
concept Scalar = std::is_floating_point_v<N>;

// clang-format off
template <Scalar N> RETORT_HD inline N exp(N x) { return std::exp(x); }
template <Scalar N> RETORT_HD inline N log(N x) { return std::log(x); }
template <Scalar N> RETORT_HD inline N log1p(N x) { return std::log1p(x); }
template <Scalar N> RETORT_HD inline N tanh(N x) { return std::tanh(x); }
template <Scalar N> RETORT_HD inline N erf(N x) { return std::erf(x); }
template <Scalar N> RETORT_HD inline N sqrt(N x) { return std::sqrt(x); }
template <Scalar N> RETORT_HD inline N abs(N x) { return std::abs(x); }
/// The larger and the smaller one; NaN if either is NaN.
template <Scalar N> RETORT_HD inline N max(N a, N b) { return a > b || a != a ? a : b; }
template <Scalar N> RETORT_HD inline N min(N a, N b) { return a < b || a != a ? a : b; }
/// a < b as a condition for `select`.
template <Scalar N> RETORT_HD inline bool less(N a, N b) { return a < b; }
/// `yes` where the condition holds, else `no`.
template <Scalar N> RETORT_HD inline N select(bool condition, N yes, N no) { return condition ? yes : no; }
// clang-format on

/// log(exp(a) + exp(b)) without overflow; -inf is the logarithm of nothing. NaN if either is NaN.
template <class N>
RETORT_HD inline N log_add_exp(N a, N b) {
  const N high = max(a, b), low = min(a, b);
  // low - high is NaN where both are the same infinity: the gap between equals is 0
  const N gap = select(less(low, high), low - high, N(0));
  return high + log1p(exp(gap));
}

/// p * f for p >= 0 with 0 * (+-inf) = 0, the convention of entropies. NaN if p is NaN.
template <class N>
RETORT_HD inline N times_or_zero(N p, N f) {
  return select(less(N(0), p), p * f, p);
}

}  // namespace retort::math
