#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <numbers>
#include <string_view>
#include <variant>

#include "retort/core/policy.hpp"
#include "retort/core/shape.hpp"

/// How the learning rate changes during a run: `factor(step, total)` multiplies the optimizer's rate at step
/// `step` of `total`, counted from 0. All begin with `warm_up` steps in which the factor rises in a straight
/// line, (step + 1) / warm_up, and is 1 at the end of them. A total that the warm-up fills has no decay, and
/// steps at or beyond the total keep the last factor.
namespace retort {

template <class S>
concept Schedule = NamedPolicy<S> && requires(const S schedule, Index step) {
  { schedule.factor(step, step) } -> std::convertible_to<double>;
};

namespace detail {

/// Whether `step` is one of the warm-up's; its factor then goes to `factor`.
constexpr bool warming_up(Index step, Index warm_up, double& factor) {
  if (step >= warm_up) return false;
  factor = static_cast<double>(step + 1) / static_cast<double>(warm_up);
  return true;
}

/// Share of the steps after the warm-up that is over: 0 at step == warm_up, 1 at step >= total.
constexpr double decay_progress(Index step, Index warm_up, Index total) {
  if (step >= total) return total > warm_up ? 1 : 0;
  return static_cast<double>(step - warm_up) / static_cast<double>(total - warm_up);
}

constexpr const char* schedule_problem(Index warm_up, double floor) {
  if (warm_up < 0) return "warm_up must not be negative";
  return floor >= 0 && floor <= 1 ? nullptr : "floor must lie between 0 and 1";
}

}  // namespace detail

/// 1 after the warm-up.
struct ConstantRate {
  static constexpr const char* name = "constant";
  Index warm_up = 0;  ///< steps

  [[nodiscard]] double factor(Index step, Index /*total*/) const {
    double f = 1;
    detail::warming_up(step, warm_up, f);
    return f;
  }
  [[nodiscard]] constexpr const char* problem() const { return detail::schedule_problem(warm_up, 0); }
  template <class F>
  void each_field(F&& f) const {
    f("warm_up", warm_up);
  }
};

/// From 1 in a straight line to `floor` at step `total`.
struct LinearDecay {
  static constexpr const char* name = "linear";
  Index warm_up = 0;  ///< steps
  double floor = 0;   ///< the factor at the end

  [[nodiscard]] double factor(Index step, Index total) const {
    double f = 1;
    if (detail::warming_up(step, warm_up, f)) return f;
    return 1 - (1 - floor) * detail::decay_progress(step, warm_up, total);
  }
  [[nodiscard]] constexpr const char* problem() const { return detail::schedule_problem(warm_up, floor); }
  template <class F>
  void each_field(F&& f) const {
    f("warm_up", warm_up);
    f("floor", floor);
  }
};

/// From 1 along half a cosine to `floor` at step `total` (Loshchilov & Hutter 2017, equation 5, without
/// restarts).
struct CosineDecay {
  static constexpr const char* name = "cosine";
  Index warm_up = 0;  ///< steps
  double floor = 0;   ///< the factor at the end

  [[nodiscard]] double factor(Index step, Index total) const {
    double f = 1;
    if (detail::warming_up(step, warm_up, f)) return f;
    const double angle = std::numbers::pi * detail::decay_progress(step, warm_up, total);
    return floor + (1 - floor) * 0.5 * (1 + std::cos(angle));
  }
  [[nodiscard]] constexpr const char* problem() const { return detail::schedule_problem(warm_up, floor); }
  template <class F>
  void each_field(F&& f) const {
    f("warm_up", warm_up);
    f("floor", floor);
  }
};

/// 1 / sqrt(1 + s / timescale), s steps after the warm-up. With the timescale 0 it is the warm-up, which
/// makes it sqrt(warm_up / step), the schedule of Vaswani et al. 2017 (section 5.3) and of T5's pre-training.
struct InverseSquareRoot {
  static constexpr const char* name = "inverse_sqrt";
  Index warm_up = 0;    ///< steps
  Index timescale = 0;  ///< steps; 0: as many as the warm-up, at least 1

  [[nodiscard]] double factor(Index step, Index total) const {
    double f = 1;
    if (detail::warming_up(step, warm_up, f)) return f;
    const auto scale = static_cast<double>(timescale > 0 ? timescale : std::max<Index>(1, warm_up));
    const auto after = static_cast<double>(std::max<Index>(0, std::min(step, total) - warm_up));
    return 1 / std::sqrt(1 + after / scale);
  }
  [[nodiscard]] constexpr const char* problem() const {
    return timescale < 0 ? "timescale must not be negative" : detail::schedule_problem(warm_up, 0);
  }
  template <class F>
  void each_field(F&& f) const {
    f("warm_up", warm_up);
    f("timescale", timescale);
  }
};

/// The shipped schedules, for programs that choose at run time.
using AnySchedule = std::variant<ConstantRate, LinearDecay, CosineDecay, InverseSquareRoot>;

/// The factor of a schedule chosen at run time.
[[nodiscard]] inline double schedule_factor(const AnySchedule& schedule, Index step, Index total) {
  return std::visit([&](const auto& s) { return s.factor(step, total); }, schedule);
}

/// The schedule called `name` with this warm-up, the rest at its defaults. Throws ValueError with the list of
/// names for an unknown one, and for a negative warm-up.
[[nodiscard]] inline AnySchedule parse_schedule(std::string_view name, Index warm_up = 0) {
  auto schedule = choose_policy<AnySchedule>("schedule", name);
  std::visit(
      [&](auto& s) {
        s.warm_up = warm_up;
        check_policy(s);
      },
      schedule);
  return schedule;
}

}  // namespace retort
