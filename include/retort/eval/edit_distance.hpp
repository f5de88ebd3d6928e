#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <numeric>
#include <ranges>
#include <vector>

namespace retort {

/// Least number of insertions, deletions and substitutions that turn `a` into `b` (Levenshtein distance).
/// Any two ranges with random access and comparable elements; time |a| |b|, memory |b|.
template <std::ranges::random_access_range A, std::ranges::random_access_range B>
requires std::equality_comparable_with<std::ranges::range_reference_t<const A>,
                                       std::ranges::range_reference_t<const B>>
[[nodiscard]] int edit_distance(const A& a, const B& b) {
  // row[j]: distance of the part of a read so far to the first j elements of b
  std::vector<int> row(static_cast<std::size_t>(std::ranges::distance(b)) + 1);
  std::iota(row.begin(), row.end(), 0);
  for (const auto& x : a) {
    int diagonal = row[0]++;
    std::size_t j = 1;
    for (const auto& y : b) {
      const int substituted = diagonal + (x == y ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
      ++j;
    }
  }
  return row.back();
}

}  // namespace retort
