#pragma once

#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "retort/ops/rotary.hpp"

/// Rotary policies: how a model turns queries and keys by their positions, or that it does not.
namespace retort::nn {

/// How the frequencies of a model that was trained on short texts are lowered for long ones.
enum class RotaryScaling {
  none,
  linear,  ///< all divided by `factor` (Chen et al. 2023, position interpolation)
  llama3,  ///< those of long waves divided by `factor`, those of short ones kept, a ramp between (LLaMA 3.1)
};

/// Name of a scaling, as Hugging Face's `rope_type` has it.
[[nodiscard]] constexpr const char* name_of(RotaryScaling scaling) {
  return scaling == RotaryScaling::linear   ? "linear"
         : scaling == RotaryScaling::llama3 ? "llama3"
                                            : "default";
}

/// The numbers of a rotary embedding. Pair i of a head turns by theta^(-2i / width) a position.
struct RotaryConfig {
  Index width = 0;       ///< columns of a head that are turned, even; 0: all
  double theta = 10000;  ///< base of the frequencies
  RotaryScaling scaling = RotaryScaling::none;
  double factor = 1;                ///< of `linear` and `llama3`
  double low_frequency = 1;         ///< llama3: a wave longer than original_positions / low_frequency is long
  double high_frequency = 4;        ///< llama3: one shorter than original_positions / high_frequency is short
  Index original_positions = 8192;  ///< llama3: longest text before the scaling

  /// Calls f(name, value) for every number.
  template <class F>
  void each_field(F&& f) const {
    f("width", width), f("theta", theta), f("scaling", name_of(scaling)), f("factor", factor);
    f("low_frequency", low_frequency), f("high_frequency", high_frequency);
    f("original_positions", original_positions);
  }

  /// Columns of a head of `head_width` that are turned. Throws ValueError for an odd or too large number, and
  /// for numbers without a meaning.
  [[nodiscard]] Index width_of(Index head_width) const {
    const Index turned = width == 0 ? head_width : width;
    if (turned < 2 || turned % 2 != 0 || turned > head_width)
      fail<ValueError>("rotary", "{} columns of a head of {}: expected an even number of at most {}", turned,
                       head_width, head_width);
    if (!(theta > 0) || !(factor > 0))
      fail<ValueError>("rotary", "theta {} and factor {}: expected numbers above 0", theta, factor);
    if (scaling == RotaryScaling::llama3 && !(high_frequency > low_frequency && low_frequency > 0))
      fail<ValueError>("rotary", "low_frequency {} and high_frequency {}: expected 0 < low < high",
                       low_frequency, high_frequency);
    return turned;
  }

  /// Radians a position of each pair, (width / 2).
  [[nodiscard]] std::vector<double> frequencies(Index head_width) const {
    const Index turned = width_of(head_width);
    std::vector<double> all;
    for (Index i = 0; i < turned / 2; ++i)
      all.push_back(scaled(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(turned))));
    return all;
  }

 private:
  [[nodiscard]] double scaled(double frequency) const {
    if (scaling == RotaryScaling::none) return frequency;
    if (scaling == RotaryScaling::linear) return frequency / factor;
    const double waves = static_cast<double>(original_positions) * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((waves - low_frequency) / (high_frequency - low_frequency), 0.0, 1.0);
    return kept * frequency + (1 - kept) * frequency / factor;
  }
};

/// Queries and keys are not turned: the model knows positions from elsewhere.
template <Backend B>
struct NoRotary {
  static constexpr const char* policy = "none";
  static constexpr bool turns = false;
  NoRotary() = default;
  NoRotary(const RotaryConfig&, Index) {}
};

/// Queries and keys are turned: GPT-J (interleaved), LLaMA (halves).
template <Backend B, RotaryLayout layout>
struct Rotary {
  static constexpr const char* policy = layout == RotaryLayout::halves ? "halves" : "interleaved";
  static constexpr bool turns = true;
  std::vector<double> frequencies;

  Rotary() = default;
  /// For heads of `head_width`; see RotaryConfig for what is refused.
  Rotary(const RotaryConfig& config, Index head_width) : frequencies(config.frequencies(head_width)) {}

  /// What every attention layer of a pass turns by, for rows at these positions.
  [[nodiscard]] RotaryTables<B> tables(std::span<const std::int32_t> positions) const {
    return rotary_tables<B>(frequencies, positions, layout);
  }
};

}  // namespace retort::nn
