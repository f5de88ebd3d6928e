#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

/// What a device that draws tokens by itself needs to know of a sampler, and what it returns.
namespace retort {

/// A token chosen from a row of logits.
struct DrawnToken {
  std::int32_t token = 0;
  double log_probability = 0;  ///< under the model: softmax of the unfiltered logits at temperature 1
  double log_draw = 0;         ///< under the distribution it was drawn from (0 for Greedy)
};

/// A sampler of the shipped filters as plain numbers: the filters in their order, then a draw; or the highest
/// logit.
struct SamplerSteps {
  enum class Kind : std::int32_t { temperature, top_k, top_p, first_tokens };
  struct Step {
    Kind kind = Kind::temperature;
    double value = 1;
  };
  static constexpr int most = 8;

  bool takes_highest = false;
  std::int32_t count = 0;  ///< filters
  std::array<Step, most> steps = {};

  /// Appends a filter; false if there is no room.
  constexpr bool add(Kind kind, double value) {
    if (count == most) return false;
    steps[static_cast<std::size_t>(count++)] = {kind, value};
    return true;
  }
};

}  // namespace retort
