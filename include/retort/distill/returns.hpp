#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/scalar.hpp"

/// From rewards of tokens to advantages: what a policy gradient multiplies grad log q(y_t) by. Everything
/// works on ragged rows: `offsets` has one number more than there are sequences, sequence i is the numbers
/// [offsets[i], offsets[i + 1]). There is no padding that a sum could count.
namespace retort {

/// Reward of a token before it is summed: (reward / scale), cut to [-limit, limit].
struct RewardShape {
  static constexpr const char* name = "reward";
  double scale = 1;  ///< rewards are divided by it; above 0
  double limit = std::numeric_limits<double>::infinity();

  [[nodiscard]] double operator()(double reward) const { return std::clamp(reward / scale, -limit, limit); }
  [[nodiscard]] constexpr const char* problem() const {
    if (!(scale > 0)) return "the scale of rewards must be above 0";
    return limit > 0 ? nullptr : "the limit of rewards must be above 0";
  }
  template <class F>
  void each_field(F&& f) const {
    f("scale", scale), f("limit", limit);
  }
};

/// The return of a token: sum over t' of discount^(t' - first) r_t', where first = t with the token's own
/// reward and t + 1 without.
struct Returns {
  static constexpr const char* name = "returns";
  bool own_reward = false;         ///< R_t instead of R_{t+1}
  double discount = 1;             ///< gamma, in [0, 1]
  bool length_normalised = false;  ///< divided by the number of rewards in the sum (0 rewards: 0)

  [[nodiscard]] constexpr const char* problem() const {
    return discount >= 0 && discount <= 1 ? nullptr : "the discount must lie in [0, 1]";
  }
  template <class F>
  void each_field(F&& f) const {
    f("own_reward", own_reward), f("discount", discount), f("length_normalised", length_normalised);
  }
};

/// The returns of all tokens. Powers of the discount are relative to the token: no response is too long for
/// them.
[[nodiscard]] inline std::vector<double> returns_of(const Returns& how, std::span<const double> rewards,
                                                    std::span<const std::int32_t> offsets) {
  std::vector<double> out(rewards.size());
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    double following = 0;  // discounted sum of what comes after t
    for (auto t = static_cast<std::size_t>(offsets[i + 1]); t-- > static_cast<std::size_t>(offsets[i]);) {
      const double own = rewards[t] + how.discount * following;
      const auto after = static_cast<double>(static_cast<std::size_t>(offsets[i + 1]) - t - 1);
      const double sum = how.own_reward ? own : following, terms = how.own_reward ? after + 1 : after;
      out[t] = how.length_normalised ? (terms > 0 ? sum / terms : 0) : sum;
      following = own;
    }
  }
  return out;
}

/// What whitening, (A - mean) / sqrt(variance + 1e-8) with the population's variance, runs over.
enum class Whitening {
  none,
  masked,  ///< the tokens of the step's responses
  all,  ///< all places of the padded rectangle, padding counting as 0: the MiniLLM authors' code. It can turn
        ///< the sign of the loss; `masked` is what was meant
};

/// As logs show it.
[[nodiscard]] inline const char* whitening_name(Whitening w) {
  return w == Whitening::none ? "none" : w == Whitening::masked ? "masked" : "all";
}

/// Whitens `advantages` in place. `padded_length` is the width of the rectangle for `all`; 0: the longest
/// sequence.
inline void whiten(Whitening how, std::vector<double>& advantages, std::span<const std::int32_t> offsets,
                   Index padded_length = 0) {
  if (how == Whitening::none || advantages.empty()) return;
  Index longest = 0;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
    longest = std::max<Index>(longest, offsets[i + 1] - offsets[i]);
  if (padded_length != 0 && padded_length < longest)
    fail<ValueError>("whiten", "a rectangle {} wide for a response of {} tokens", padded_length, longest);
  const auto tokens = static_cast<double>(advantages.size());
  const double places = how == Whitening::masked
                            ? tokens
                            : static_cast<double>((static_cast<Index>(offsets.size()) - 1) *
                                                  (padded_length != 0 ? padded_length : longest));
  double sum = 0;
  for (const double a : advantages) sum += a;
  const double mean = sum / places;
  double squares = (places - tokens) * mean * mean;  // of the padding
  for (const double a : advantages) squares += (a - mean) * (a - mean);
  const double factor = 1 / std::sqrt(squares / places + 1e-8);
  for (double& a : advantages) a = (a - mean) * factor;
}

}  // namespace retort
