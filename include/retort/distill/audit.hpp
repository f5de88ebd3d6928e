#pragma once

#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "retort/distill/divergences.hpp"
#include "retort/kernels/cpu/row_sums.hpp"
#include "retort/ops/policy_loss.hpp"

/// Measurements of an on-policy step, free but for one more pass over logits that are there anyway: what
/// tells a run that learns from one that games its objective.
namespace retort {

/// Means over the response tokens of a step unless said otherwise; nats.
struct Audit {
  Index tokens = 0;
  double forward_kl = 0, reverse_kl = 0;  ///< exact, over the vocabulary
  double jsd = 0;                         ///< Jensen-Shannon divergence with beta 1/2
  double student_entropy = 0, teacher_entropy = 0;
  double k1 = 0;           ///< log q - log p of the tokens: an estimate of the reverse KL, unbiased on-policy
  double k3 = 0;           ///< p/q - 1 - log(p/q): another, never negative and of less variance
  double mean_weight = 1;  ///< of importance weights
  double effective_size = 1;  ///< effective sample size (sum w)^2 / sum w^2, as a share of the tokens
  double clipped = 0;         ///< share of tokens without a gradient because of clipping

  /// f(name, value) for each measurement.
  template <class F>
  void each(F&& f) const {
    f("forward_kl", forward_kl), f("reverse_kl", reverse_kl), f("jsd", jsd);
    f("student_entropy", student_entropy), f("teacher_entropy", teacher_entropy), f("k1", k1), f("k3", k3);
    f("mean_weight", mean_weight), f("effective_size", effective_size), f("clipped", clipped);
  }
};

namespace detail {

/// Summands of the exact measurements of a row, for kernels::row_sums.
struct DivergenceSums {
  static constexpr std::size_t count = 5;

  template <class N>
  std::array<N, count> operator()(N log_p, N log_q) const {
    using namespace math;
    return {ForwardKl{}.term(log_p, log_q), ReverseKl{}.term(log_p, log_q), Jsd{0.5}.term(log_p, log_q),
            -times_or_zero(exp(log_q), log_q), -times_or_zero(exp(log_p), log_p)};
  }
};

}  // namespace detail

/// Adds up an Audit over the parts of a step.
class AuditSums {
 public:
  /// The tokens of a part: their log-probabilities under student (now) and teacher, importance weights, and
  /// how many were clipped.
  void add_tokens(std::span<const double> log_student, std::span<const double> log_teacher,
                  std::span<const double> weights, Index clipped) {
    for (std::size_t t = 0; t < log_student.size(); ++t) {
      const double d = log_teacher[t] - log_student[t];
      sum_.k1 -= d;
      sum_.k3 += std::exp(d) - 1 - d;
      weight_ += weights[t];
      weight_squared_ += weights[t] * weights[t];
    }
    sum_.clipped += static_cast<double>(clipped);
    sum_.tokens += static_cast<Index>(log_student.size());
  }

  /// Sees the logits of all rows: the exact measurements. Of a part without a teacher it is never called.
  template <Backend B>
  [[nodiscard]] LogitsObserver<B> observer(Index student_vocabulary, Index teacher_vocabulary) {
    return [this, student_vocabulary, teacher_vocabulary](Index, Index rows, const auto* student,
                                                          const auto* teacher) {
      constexpr std::size_t count = detail::DivergenceSums::count;
      std::vector<double> sums(static_cast<std::size_t>(rows) * count);
      kernels::row_sums(typename B::Device{}, detail::DivergenceSums{}, rows, student_vocabulary,
                        teacher_vocabulary, student, teacher, sums.data());
      for (std::size_t r = 0; r < sums.size(); r += count) {
        sum_.forward_kl += sums[r], sum_.reverse_kl += sums[r + 1], sum_.jsd += sums[r + 2];
        sum_.student_entropy += sums[r + 3], sum_.teacher_entropy += sums[r + 4];
      }
    };
  }

  /// The means so far; zeros if there was no token.
  [[nodiscard]] Audit mean() const {
    Audit out;
    if (sum_.tokens == 0) return out;
    const auto n = static_cast<double>(sum_.tokens);
    out.tokens = sum_.tokens;
    out.forward_kl = sum_.forward_kl / n, out.reverse_kl = sum_.reverse_kl / n, out.jsd = sum_.jsd / n;
    out.student_entropy = sum_.student_entropy / n, out.teacher_entropy = sum_.teacher_entropy / n;
    out.k1 = sum_.k1 / n, out.k3 = sum_.k3 / n, out.clipped = sum_.clipped / n;
    out.mean_weight = weight_ / n;
    out.effective_size = weight_squared_ > 0 ? weight_ * weight_ / weight_squared_ / n : 0;
    return out;
  }

 private:
  Audit sum_{};
  double weight_ = 0, weight_squared_ = 0;
};

}  // namespace retort
