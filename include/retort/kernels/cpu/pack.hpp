#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "retort/core/math.hpp"
#include "retort/core/scalar.hpp"
#include "retort/kernels/cpu/eigen.hpp"
#include "retort/kernels/cpu/partial.hpp"

namespace retort::kernels::cpu {

/// A SIMD register of numbers with the arithmetic and the maths names of core/math.hpp, so that one functor
/// text serves scalars and packs. A thin struct over Eigen's packet functions.
template <Real T>
struct Pack {
  using Packet = typename Eigen::internal::packet_traits<T>::type;
  static constexpr int size = Eigen::internal::packet_traits<T>::size;

  Packet v;

  Pack() = default;
  Pack(Packet p) : v(p) {}
  Pack(T x) requires(!std::is_same_v<Packet, T>) : v(Eigen::internal::pset1<Packet>(x)) {}
  template <class U>
  requires(std::is_arithmetic_v<U> && !std::is_same_v<U, T>) Pack(U x) : Pack(static_cast<T>(x)) {}

  static Pack load(const T* p) { return Eigen::internal::ploadu<Packet>(p); }
  void store(T* p) const { Eigen::internal::pstoreu(p, v); }

  /// The first `count` elements, the rest `fill`. Tails go through packs too, so that a value does not depend
  /// on its place in an array.
  static Pack load(const T* p, Index count, T fill = T(0)) {
    return load_partial(p, count, Eigen::internal::pset1<Packet>(fill));
  }
  void store(T* p, Index count) const { store_partial(p, count, v); }

  [[nodiscard]] T sum() const { return Eigen::internal::predux(v); }
  [[nodiscard]] T highest() const { return Eigen::internal::predux_max(v); }

  friend Pack operator+(Pack a, Pack b) { return Eigen::internal::padd(a.v, b.v); }
  friend Pack operator-(Pack a, Pack b) { return Eigen::internal::psub(a.v, b.v); }
  friend Pack operator*(Pack a, Pack b) { return Eigen::internal::pmul(a.v, b.v); }
  friend Pack operator/(Pack a, Pack b) { return Eigen::internal::pdiv(a.v, b.v); }
  friend Pack operator-(Pack a) { return Eigen::internal::pnegate(a.v); }
  Pack& operator+=(Pack b) { return *this = *this + b; }
  Pack& operator*=(Pack b) { return *this = *this * b; }
};

/// a * b + c
template <Real T>
Pack<T> fma(Pack<T> a, Pack<T> b, Pack<T> c) {
  return Eigen::internal::pmadd(a.v, b.v, c.v);
}

/// Result of a comparison, for `select`.
template <Real T>
struct PackCondition {
  typename Pack<T>::Packet v;
};

template <Real T>
PackCondition<T> less(Pack<T> a, Pack<T> b) {
  return {Eigen::internal::pcmp_lt(a.v, b.v)};
}
template <Real T>
Pack<T> select(PackCondition<T> condition, Pack<T> yes, Pack<T> no) {
  return Eigen::internal::pselect(condition.v, yes.v, no.v);
}
template <Real T>
Pack<T> max(Pack<T> a, Pack<T> b) {
  return Eigen::internal::pmax<Eigen::PropagateNaN>(a.v, b.v);
}
template <Real T>
Pack<T> min(Pack<T> a, Pack<T> b) {
  return Eigen::internal::pmin<Eigen::PropagateNaN>(a.v, b.v);
}
template <Real T>
Pack<T> abs(Pack<T> a) {
  return Eigen::internal::pabs(a.v);
}
/// Eigen's psqrt is quick and NaN for infinity.
template <Real T>
Pack<T> sqrt(Pack<T> a) {
  namespace ei = Eigen::internal;
  const Pack<T> infinity(std::numeric_limits<T>::infinity());
  return ei::pselect(ei::pcmp_eq(a.v, infinity.v), a.v, ei::psqrt(a.v));
}
template <Real T>
Pack<T> log(Pack<T> a) {
  return Eigen::internal::plog(a.v);
}

/// Eigen's pexp clamps its argument; here results below the normal range are exactly 0 and NaN stays NaN.
template <Real T>
Pack<T> exp(Pack<T> a) {
  namespace ei = Eigen::internal;
  const T lowest = std::is_same_v<T, float> ? T(-87.0) : T(-708.0);
  const auto e = ei::pexp(a.v);
  const auto kept =
      ei::pselect(ei::pcmp_lt(a.v, ei::pset1<typename Pack<T>::Packet>(lowest)), ei::pzero(e), e);
  return ei::pselect(ei::pcmp_eq(a.v, a.v), kept, a.v);
}

template <Real T, class F>
Pack<T> each_lane(Pack<T> a, F f) {
  std::array<T, Pack<T>::size> lanes;
  a.store(lanes.data());
  for (T& x : lanes) x = f(x);
  return Pack<T>::load(lanes.data());
}

template <Real T>
Pack<T> tanh(Pack<T> a) {
  if constexpr (std::is_same_v<T, float>) {
    const auto t = Eigen::internal::ptanh(a.v);
    return Eigen::internal::pselect(Eigen::internal::pcmp_eq(a.v, a.v), t, a.v);
  } else {
    return each_lane(a, [](T x) { return std::tanh(x); });
  }
}

template <Real T>
Pack<T> erf(Pack<T> a) {
  return each_lane(a, [](T x) { return std::erf(x); });
}

/// log(1 + x) with the rounding error of 1 + x corrected (Kahan).
template <Real T>
Pack<T> log1p(Pack<T> x) {
  namespace ei = Eigen::internal;
  const Pack<T> u = Pack<T>(T(1)) + x, d = u - Pack<T>(T(1)), l = log(u);
  const auto tiny = ei::pcmp_eq(d.v, ei::pzero(d.v)), huge = ei::pcmp_eq(u.v, x.v);
  return ei::pselect(tiny, x.v, ei::pselect(huge, l.v, (l * (x / d)).v));
}

}  // namespace retort::kernels::cpu
