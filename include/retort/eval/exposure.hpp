#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "retort/core/error.hpp"

/// Exposure bias: how much a student's errors grow on its own prefixes (Arora et al. 2022, MiniLLM
/// section 3.3).
namespace retort {

/// Sums over positions t <= l of the mean divergence at t, for l = 1, 2, ..., longest: element l - 1.
/// `divergence` is KL(p_t || q_t) of each token in ragged rows, `offsets` as in Sequences. Means are over all
/// sequences; one that has ended counts 0, since both models then know what follows.
[[nodiscard]] inline std::vector<double> accumulated_divergence(std::span<const double> divergence,
                                                                std::span<const std::int32_t> offsets) {
  std::vector<double> out;
  const auto sequences = static_cast<double>(offsets.size()) - 1;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
    for (auto t = offsets[i]; t < offsets[i + 1]; ++t) {
      const auto place = static_cast<std::size_t>(t - offsets[i]);
      if (out.size() <= place) out.resize(place + 1, 0);
      out[place] += divergence[static_cast<std::size_t>(t)] / sequences;
    }
  for (std::size_t l = 1; l < out.size(); ++l) out[l] += out[l - 1];
  return out;
}

/// ExAccErr(l) = 100 (R(l) - eps(l)) / eps(l) in percent, for every l that both have: R on the student's own
/// samples, eps on the teacher's. 0: no exposure bias.
[[nodiscard]] inline std::vector<double> excess_accumulated_error(std::span<const double> on_student,
                                                                  std::span<const double> on_teacher) {
  std::vector<double> out;
  for (std::size_t l = 0; l < std::min(on_student.size(), on_teacher.size()); ++l)
    out.push_back(100 * (on_student[l] - on_teacher[l]) / on_teacher[l]);
  return out;
}

}  // namespace retort
