#pragma once

#include <retort/core/math.hpp>

/// The squared Hellinger distance 1 - sum sqrt(p q), between 0 and 1. Two scalar functions are all that a
/// divergence is; the rest of this program uses it like one of the library's.
struct Hellinger {
  static constexpr const char* name = "hellinger";

  /// phi(p, q) = (sqrt p - sqrt q)^2 / 2. Its sum is that of the formula above, and no summand is negative.
  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace retort::math;
    const N apart = exp(N(0.5) * log_p) - exp(N(0.5) * log_q);
    return N(0.5) * apart * apart;
  }
  /// q dphi/dq = (q - sqrt(p q)) / 2.
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace retort::math;
    return N(0.5) * (exp(log_q) - exp(N(0.5) * (log_p + log_q)));
  }
  template <class F>
  void each_field(F&&) const {}
};
