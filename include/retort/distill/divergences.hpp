#pragma once

#include <array>
#include <cstddef>

#include "retort/core/math.hpp"

/// The divergences between a teacher's next-token distribution p and a student's q, each as two scalar
/// functions of log p_v and log q_v, generic over their number:
///
///   term   phi(p, q); the divergence is the sum of phi over the vocabulary
///   pull   q dphi/dq, up to a multiple of q, which the row driver's gradient cancels:
///          dD/dz_j = (pull_j - q_j sum_v pull_v) / temperature
///
/// The terms carry the summands -p + q (sum 0): every term is then >= 0 by itself, and `detail::kl_term`
/// keeps rounding from making the divergence of close distributions negative. A policy with a parameter has
/// `problem()`: nullptr, or what is wrong. Sources: GKD = Agarwal et al. 2024 (arXiv 2306.13649), DistiLLM =
/// Ko et al. 2024 (arXiv 2402.03898), f-distill = Wen et al. 2023 (arXiv 2307.15190).
namespace retort {

namespace detail {

/// A summand of KL(a || b) with -a + b: a (log a - log b) - a + b = a (x - log(1 + x)), x = (b - a) / a. It
/// is never negative; where a and b are close the first form would lose all its digits, so there it is
///   log(1 + x) = 2 artanh s = 2 (s + s^3/3 + s^5/5 + ...),  s = x / (2 + x),  x - 2 s = x s.
template <class N>
RETORT_HD N kl_term(N a, N log_a, N b, N log_b) {
  using namespace math;
  const N x = (b - a) / a, s = x / (N(2) + x), s2 = s * s;
  const N series = N(1. / 3) + s2 * (N(1. / 5) + s2 * (N(1. / 7) + s2 * (N(1. / 9) + s2 * N(1. / 11))));
  const N apart = times_or_zero(a, log_a - log_b) - a + b;
  return select(less(abs(x), N(0.125)), a * (s * (x - N(2) * s2 * series)), apart);
}

}  // namespace detail

/// KL(p || q): mass covering; classical (supervised) distillation.
struct ForwardKl {
  static constexpr const char* name = "forward_kl";
  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    return detail::kl_term(exp(log_p), log_p, exp(log_q), log_q);
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace math;
    return exp(log_q) - exp(log_p);
  }
  template <class F>
  void each_field(F&&) const {}
};

/// KL(q || p): mode seeking; MiniLLM's and on-policy distillation's favourite.
struct ReverseKl {
  static constexpr const char* name = "reverse_kl";
  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    return detail::kl_term(exp(log_q), log_q, exp(log_p), log_p);
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace math;
    return times_or_zero(exp(log_q), log_q - log_p);
  }
  template <class F>
  void each_field(F&&) const {}
};

/// Generalised Jensen-Shannon divergence beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q,
/// for 0 < beta < 1 (GKD, section 2). beta belongs to the teacher: its term and its share of the mixture.
/// JSD(beta) / beta tends to ForwardKl for beta -> 0 and JSD(beta) / (1 - beta) to ReverseKl for beta -> 1,
/// so its gradients are small near the ends; `NormalisedJsd` is not.
struct Jsd {
  static constexpr const char* name = "jsd";
  double beta = 0.5;  ///< the teacher's share, in (0, 1)

  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    const N p = exp(log_p), q = exp(log_q), m = N(beta) * p + N(1 - beta) * q, log_m = log(m);
    return N(beta) * detail::kl_term(p, log_p, m, log_m) + N(1 - beta) * detail::kl_term(q, log_q, m, log_m);
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace math;
    const N p = exp(log_p), q = exp(log_q);
    return times_or_zero(N(1 - beta) * q, log_q - log(N(beta) * p + N(1 - beta) * q));
  }
  [[nodiscard]] constexpr const char* problem() const {
    if (beta == 0) return "beta = 0 is not a Jensen-Shannon divergence: use ForwardKl (forward_kl)";
    if (beta == 1) return "beta = 1 is not a Jensen-Shannon divergence: use ReverseKl (reverse_kl)";
    return beta > 0 && beta < 1 ? nullptr : "beta must lie between 0 and 1";
  }
  template <class F>
  void each_field(F&& f) const {
    f("beta", beta);
  }
};

/// JSD(beta) / (beta (1 - beta)): continuous to ForwardKl at beta -> 0 and to ReverseKl at beta -> 1.
struct NormalisedJsd {
  static constexpr const char* name = "normalised_jsd";
  double beta = 0.5;  ///< the teacher's share, in (0, 1)

  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    return N(1 / (beta * (1 - beta))) * Jsd{beta}.term(log_p, log_q);
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    return N(1 / (beta * (1 - beta))) * Jsd{beta}.pull(log_p, log_q);
  }
  [[nodiscard]] constexpr const char* problem() const { return Jsd{beta}.problem(); }
  template <class F>
  void each_field(F&& f) const {
    f("beta", beta);
  }
};

/// Total variation distance, half the sum of |p - q| (f-distill).
struct TotalVariation {
  static constexpr const char* name = "total_variation";
  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    return N(0.5) * abs(exp(log_p) - exp(log_q));
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace math;
    const N half_q = N(0.5) * exp(log_q);
    return select(less(log_p, log_q), half_q, select(less(log_q, log_p), -half_q, N(0)));
  }
  template <class F>
  void each_field(F&&) const {}
};

/// KL(p || alpha p + (1 - alpha) q) (DistiLLM, section 3.1): ForwardKl that stays finite where q vanishes.
struct SkewForwardKl {
  static constexpr const char* name = "skew_forward_kl";
  double alpha = 0.1;  ///< the teacher's share of the mixture, in [0, 1); 0: ForwardKl

  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    const N p = exp(log_p), q = exp(log_q), m = N(alpha) * p + N(1 - alpha) * q;
    return detail::kl_term(p, log_p, m, log(m));
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace math;
    const N p = exp(log_p), q = exp(log_q);
    return -times_or_zero(p, N(1 - alpha) * q / (N(alpha) * p + N(1 - alpha) * q));
  }
  [[nodiscard]] constexpr const char* problem() const {
    return alpha >= 0 && alpha < 1 ? nullptr : "alpha must lie in [0, 1)";
  }
  template <class F>
  void each_field(F&& f) const {
    f("alpha", alpha);
  }
};

/// KL(q || (1 - alpha) p + alpha q) (DistiLLM, section 3.1): ReverseKl that stays finite where p vanishes.
struct SkewReverseKl {
  static constexpr const char* name = "skew_reverse_kl";
  double alpha = 0.1;  ///< the student's share of the mixture, in [0, 1); 0: ReverseKl

  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    const N p = exp(log_p), q = exp(log_q), m = N(alpha) * q + N(1 - alpha) * p;
    return detail::kl_term(q, log_q, m, log(m));
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    using namespace math;
    const N p = exp(log_p), q = exp(log_q);
    const N m = N(alpha) * q + N(1 - alpha) * p;
    return times_or_zero(q, log_q - log(m) - N(alpha) * q / m);
  }
  [[nodiscard]] constexpr const char* problem() const {
    return alpha >= 0 && alpha < 1 ? nullptr : "alpha must lie in [0, 1)";
  }
  template <class F>
  void each_field(F&& f) const {
    f("alpha", alpha);
  }
};

/// Jeffreys divergence, half of KL(p || q) + KL(q || p).
struct SymmetricKl {
  static constexpr const char* name = "symmetric_kl";
  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    return N(0.5) * (ForwardKl{}.term(log_p, log_q) + ReverseKl{}.term(log_p, log_q));
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    return N(0.5) * (ForwardKl{}.pull(log_p, log_q) + ReverseKl{}.pull(log_p, log_q));
  }
  template <class F>
  void each_field(F&&) const {}
};

namespace detail {

/// Cross-entropy of q under p, -sum p log q: the forward KL and the teacher's entropy (MiniLLM's corpus
/// loss).
struct SoftCrossEntropy {
  static constexpr const char* name = "soft_cross_entropy";
  template <class N>
  RETORT_HD N term(N log_p, N log_q) const {
    using namespace math;
    return -times_or_zero(exp(log_p), log_q);
  }
  template <class N>
  RETORT_HD N pull(N log_p, N log_q) const {
    return ForwardKl{}.pull(log_p, log_q);
  }
};

/// Summands of the exact measurements of a row, for kernels::row_sums.
struct DivergenceSums {
  static constexpr std::size_t count = 5;

  template <class N>
  RETORT_HD std::array<N, count> operator()(N log_p, N log_q) const {
    using namespace math;
    return {ForwardKl{}.term(log_p, log_q), ReverseKl{}.term(log_p, log_q), Jsd{0.5}.term(log_p, log_q),
            -times_or_zero(exp(log_q), log_q), -times_or_zero(exp(log_p), log_p)};
  }
};

}  // namespace detail

}  // namespace retort
