#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "retort/ops/policy_loss.hpp"

/// Samples that another distribution drew: importance weights, and PPO's clipping (Schulman et al. 2017) of
/// the ratio between the model now and when it sampled.
namespace retort {

/// Weight of a token for samples y ~ ptilde that stand for y ~ q, with w_t = q(y_t) / ptilde(y_t).
enum class ImportanceWeight {
  none,         ///< 1
  single_step,  ///< w_t: MiniLLM's approximation; biased, of low variance
  product,      ///< exact: of the whole response (w_1 ... w_L) for what depends on all of it, of what comes
                ///< before (w_1 ... w_{t-1}) for what depends on the prefix alone
};

/// As logs show it.
[[nodiscard]] inline const char* importance_name(ImportanceWeight w) {
  return w == ImportanceWeight::none          ? "none"
         : w == ImportanceWeight::single_step ? "single_step"
                                              : "product";
}

/// Weights of ragged rows (see returns.hpp) from log w_t. `prefix`: of what depends on y_1 ... y_{t-1} alone.
/// Products are sums of logarithms; a weight that exceeds double's range is infinite.
[[nodiscard]] inline std::vector<double> importance_weights(ImportanceWeight how,
                                                            std::span<const double> log_ratio,
                                                            std::span<const std::int32_t> offsets,
                                                            bool prefix) {
  std::vector<double> out(log_ratio.size(), 1);
  if (how == ImportanceWeight::single_step)
    for (std::size_t t = 0; t < out.size(); ++t) out[t] = std::exp(log_ratio[t]);
  if (how != ImportanceWeight::product) return out;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    const auto first = static_cast<std::size_t>(offsets[i]), last = static_cast<std::size_t>(offsets[i + 1]);
    double sum = 0;
    for (std::size_t t = first; t < last; ++t) {
      out[t] = std::exp(sum);
      sum += log_ratio[t];
    }
    if (!prefix) std::fill(out.begin() + offsets[i], out.begin() + offsets[i + 1], std::exp(sum));
  }
  return out;
}

/// Clipping of the probability ratio rho = q / q_old.
struct RatioClip {
  static constexpr const char* name = "clip";
  double epsilon = 0.2;        ///< rho counts in [1 - epsilon, 1 + epsilon] only; infinity: no clipping
  bool weight_inside = false;  ///< the importance weight belongs to the ratio that is clipped (the MiniLLM
                               ///< authors' code), not to the result (the paper)

  [[nodiscard]] constexpr const char* problem() const {
    return epsilon > 0 ? nullptr : "epsilon must be above 0 (infinity: no clipping)";
  }
  template <class F>
  void each_field(F&& f) const {
    f("epsilon", epsilon), f("weight_inside", weight_inside);
  }
};

/// The clipped surrogate of one token.
struct Surrogate {
  TokenTerm term;  ///< loss, and its slope by log q
  bool clipped =
      false;  ///< no gradient: the ratio has left the interval on the side that the advantage wants
};

/// max(-A rho, -A clip(rho)), times the weight or with rho := rho * weight (see RatioClip).
[[nodiscard]] inline Surrogate clipped_surrogate(const RatioClip& how, double advantage, double weight,
                                                 double log_q, double log_q_old) {
  const double inside = how.weight_inside ? weight : 1, outside = how.weight_inside ? 1 : weight;
  const double rho = std::exp(log_q - log_q_old) * inside;
  const double cut = std::clamp(rho, 1 - how.epsilon, 1 + how.epsilon);
  const double plain = -advantage * rho, limited = -advantage * cut;
  if (limited > plain) return {{outside * limited, 0}, true};
  return {{outside * plain, outside * plain}, false};  // d rho / d log q = rho
}

}  // namespace retort
