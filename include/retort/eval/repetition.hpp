#pragma once

#include <algorithm>
#include <vector>

#include "retort/core/sequences.hpp"

/// How much sequences repeat themselves and each other, by n-grams of tokens.
namespace retort {

/// Distinct n-grams over all n-grams (Li et al. 2016). n-grams do not run across sequences; 1 if there is
/// none.
[[nodiscard]] inline double distinct_ngrams(const Sequences& sequences, int n) {
  if (n < 1) fail<ValueError>("distinct_ngrams", "n is {}, must be at least 1", n);
  std::vector<std::span<const std::int32_t>> grams;
  for (int i = 0; i < sequences.size(); ++i)
    for (int t = 0; t + n <= sequences.length(i); ++t)
      grams.push_back(sequences[i].subspan(static_cast<std::size_t>(t), static_cast<std::size_t>(n)));
  if (grams.empty()) return 1;
  std::ranges::sort(grams, [](auto a, auto b) { return std::ranges::lexicographical_compare(a, b); });
  const auto same = [](auto a, auto b) { return std::ranges::equal(a, b); };
  return static_cast<double>(std::ranges::unique(grams, same).begin() - grams.begin()) /
         static_cast<double>(grams.size());
}

/// Share of n-grams that their own sequence has already said, over all sequences; 0 if there is none. What
/// grows first when a model games its objective.
[[nodiscard]] inline double repetition_rate(const Sequences& sequences, int n = 4) {
  double repeated = 0, all = 0;
  for (int i = 0; i < sequences.size(); ++i) {
    Sequences one;
    one.push_back(sequences[i]);
    const double count = std::max(0, sequences.length(i) - n + 1);
    all += count;
    repeated += count * (1 - distinct_ngrams(one, n));
  }
  return all > 0 ? repeated / all : 0;
}

}  // namespace retort
