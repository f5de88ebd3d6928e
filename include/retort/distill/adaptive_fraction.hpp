#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

/// DistiLLM's adaptive share of the student's outputs, with a buffer of old ones (Ko et al. 2024, arXiv
/// 2402.03898, section 3.2 and algorithm 1).
namespace retort {

/// Where a step's responses come from.
enum class AdaptiveSource {
  data,    ///< the data set's responses
  fresh,   ///< the student's, sampled now and kept in the buffer
  buffer,  ///< the student's, from the buffer
};

/// As logs show it.
[[nodiscard]] inline const char* adaptive_source_name(AdaptiveSource s) {
  return s == AdaptiveSource::data ? "data" : s == AdaptiveSource::fresh ? "fresh" : "buffer";
}

/// How the share grows: by `increment` whenever the validation loss has risen by `tolerance` since the last
/// time it grew (or since the start).
struct AdaptiveFraction {
  static constexpr const char* name = "adaptive_fraction";
  double start = 0;  ///< share of student's outputs at the start, in [0, 1]
  double increment = 0.1;
  double tolerance = 0.1;  ///< nats
  int capacity = 1000;     ///< responses in the buffer; the oldest leave

  [[nodiscard]] constexpr const char* problem() const {
    if (!(start >= 0 && start <= 1)) return "the start must lie in [0, 1]";
    if (!(increment >= 0 && increment <= 1)) return "the increment must lie in [0, 1]";
    if (!(tolerance >= 0)) return "the tolerance must not be negative";
    return capacity >= 1 ? nullptr : "the capacity must be at least 1";
  }
  template <class F>
  void each_field(F&& f) const {
    f("start", start), f("increment", increment), f("tolerance", tolerance), f("capacity", capacity);
  }
};

/// The share as a run goes on: a value, kept in checkpoints.
struct AdaptiveState {
  double share = 0;                      ///< phi
  std::optional<double> reference = {};  ///< validation loss that later ones are compared with

  /// Hears a validation loss, the first one before the first step.
  void validated(const AdaptiveFraction& how, double loss) {
    if (!reference) {
      share = how.start;
      reference = loss;
    } else if (loss >= *reference + how.tolerance) {
      share = std::min(share + how.increment, 1.0);
      reference = loss;
    }
  }

  /// The source of a step, from a uniform number, the part of the run that is done (in [0, 1)), and whether
  /// the buffer is full.
  [[nodiscard]] AdaptiveSource choose(double u, double done, bool full) const {
    if (u < share * (1 - done) || (u < share && !full)) return AdaptiveSource::fresh;
    return u < share ? AdaptiveSource::buffer : AdaptiveSource::data;
  }
};

}  // namespace retort
