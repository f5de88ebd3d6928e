#pragma once

#include <array>
#include <cmath>
#include <span>
#include <utility>
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

  /// f(name, value) for each measurement of rows of logits.
  template <class F>
  void each_of_rows(F&& f) const {
    f("forward_kl", forward_kl), f("reverse_kl", reverse_kl), f("jsd", jsd);
    f("student_entropy", student_entropy), f("teacher_entropy", teacher_entropy), f("k1", k1), f("k3", k3);
  }
  /// f(name, value) for each measurement.
  template <class F>
  void each(F&& f) const {
    each_of_rows(f);
    f("mean_weight", mean_weight), f("effective_size", effective_size), f("clipped", clipped);
  }
};

/// A recipe whose run measures itself: the metrics of every `audit_every`-th step, from the first, also have
/// the Audit of its rows, if it minimises a divergence; 0: none. It changes nothing else, and is not a part
/// of the run's configuration. (A type of its own, so that a program that does not measure does not compile
/// the measurements.)
template <class Recipe>
struct Audited : Recipe {
  Index audit_every = 1;

  [[nodiscard]] constexpr const char* problem() const {
    return audit_every >= 0 ? Recipe::problem() : "audit_every, in steps, must not be negative";
  }
};

/// `recipe`, measured every `every` steps.
template <class Recipe>
[[nodiscard]] Audited<Recipe> audited(Recipe recipe, Index every = 1) {
  return {std::move(recipe), every};
}

/// Adds up an Audit over the parts of a step.
class AuditSums {
 public:
  /// Importance weights of a part's tokens, and how many of them were clipped.
  void add_weights(std::span<const double> weights, Index clipped) {
    for (const double w : weights) {
      weight_ += w;
      weight_squared_ += w * w;
    }
    weights_ += static_cast<Index>(weights.size());
    sum_.clipped += static_cast<double>(clipped);
  }

  /// Sees the logits of all rows with their tokens: everything else. Of a part without a teacher it is never
  /// called.
  template <Backend B>
  [[nodiscard]] LogitsObserver<B> observer(const IndexTensor<B>& tokens, Index student_vocabulary,
                                           Index teacher_vocabulary) {
    return [this, tokens, student_vocabulary, teacher_vocabulary](Index first, Index rows,
                                                                  const auto* student, const auto* teacher) {
      const typename B::Device device{};
      constexpr std::size_t count = detail::DivergenceSums::count;
      Tensor<double, typename B::Device> row_sums({rows, static_cast<Index>(count)});
      kernels::row_sums(device, detail::DivergenceSums{}, rows, student_vocabulary, teacher_vocabulary,
                        student, teacher, row_sums.data(), logits_stride<B>(student_vocabulary),
                        logits_stride<B>(teacher_vocabulary));
      const std::vector<double> sums = row_sums.to_host();
      for (std::size_t r = 0; r < sums.size(); r += count) {
        sum_.forward_kl += sums[r], sum_.reverse_kl += sums[r + 1], sum_.jsd += sums[r + 2];
        sum_.student_entropy += sums[r + 3], sum_.teacher_entropy += sums[r + 4];
      }
      sum_.tokens += rows;

      const auto logs = [&](const auto* logits, Index vocabulary) {
        StatisticTensor<B> out({rows});
        kernels::token_log_probabilities(device, rows, vocabulary, logits, tokens.data() + first, 1,
                                         out.data(), logits_stride<B>(vocabulary));
        return out.to_host();
      };
      const auto ids = tokens.to_host();
      for (Index r = 0; r < rows; ++r)  // a token that only the student has: no estimate
        if (ids[static_cast<std::size_t>(first + r)] >= teacher_vocabulary) return;
      const auto log_q = logs(student, student_vocabulary), log_p = logs(teacher, teacher_vocabulary);
      for (std::size_t r = 0; r < log_q.size(); ++r) {
        const double d = static_cast<double>(log_p[r]) - static_cast<double>(log_q[r]);
        sum_.k1 -= d;
        sum_.k3 += std::exp(d) - 1 - d;
      }
      estimates_ += rows;
    };
  }

  /// The means so far; zeros if there was no token.
  [[nodiscard]] Audit mean() const {
    Audit out;
    const auto by = [](double sum, Index n) { return n > 0 ? sum / static_cast<double>(n) : 0; };
    out.tokens = std::max(sum_.tokens, weights_);
    out.forward_kl = by(sum_.forward_kl, sum_.tokens), out.reverse_kl = by(sum_.reverse_kl, sum_.tokens);
    out.jsd = by(sum_.jsd, sum_.tokens);
    out.student_entropy = by(sum_.student_entropy, sum_.tokens);
    out.teacher_entropy = by(sum_.teacher_entropy, sum_.tokens);
    out.k1 = by(sum_.k1, estimates_), out.k3 = by(sum_.k3, estimates_);
    out.clipped = by(sum_.clipped, weights_);
    out.mean_weight = by(weight_, weights_);
    out.effective_size = weight_squared_ > 0 ? by(weight_ * weight_ / weight_squared_, weights_) : 0;
    return out;
  }

 private:
  Audit sum_{};
  double weight_ = 0, weight_squared_ = 0;
  Index weights_ = 0, estimates_ = 0;
};

}  // namespace retort
