#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "retort/core/error.hpp"

namespace retort {

/// Expected calibration error (Guo et al. 2017): over ten bins of equal width, the mean distance of a bin's
/// accuracy from its mean confidence, weighted by how many answers are in it. confidence[i] in [0, 1] is what
/// the model gave answer i, right[i] whether it was right. 0 without answers; ValueError for a confidence out
/// of range.
[[nodiscard]] inline double expected_calibration_error(std::span<const double> confidence,
                                                       std::span<const std::uint8_t> right) {
  if (confidence.size() != right.size())
    fail<ValueError>("expected_calibration_error", "{} confidences for {} answers", confidence.size(),
                     right.size());
  struct Bin {
    double confidence = 0, right = 0;
  };
  std::array<Bin, 10> bins;
  for (std::size_t i = 0; i < confidence.size(); ++i) {
    if (!(confidence[i] >= 0 && confidence[i] <= 1))
      fail<ValueError>("expected_calibration_error", "confidence {} is outside [0, 1]", confidence[i]);
    Bin& bin = bins[std::min<std::size_t>(9, static_cast<std::size_t>(confidence[i] * 10))];
    bin.confidence += confidence[i];
    bin.right += right[i] != 0 ? 1 : 0;
  }
  double error = 0;
  for (const Bin& bin : bins) error += std::abs(bin.right - bin.confidence);
  return confidence.empty() ? 0 : error / static_cast<double>(confidence.size());
}

}  // namespace retort
