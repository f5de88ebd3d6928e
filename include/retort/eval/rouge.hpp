#pragma once

#include <algorithm>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

/// ROUGE-L (Lin 2004), as the Python package rouge_score computes it without its stemmer.
namespace retort {

/// Length of the longest common subsequence; time |a| |b|, memory |b|.
template <std::ranges::random_access_range A, std::ranges::random_access_range B>
[[nodiscard]] int longest_common_subsequence(const A& a, const B& b) {
  std::vector<int> row(static_cast<std::size_t>(std::ranges::distance(b)) + 1, 0);
  for (const auto& x : a) {
    int diagonal = 0;
    std::size_t j = 1;
    for (const auto& y : b) {
      const int above = row[j];
      row[j] = x == y ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
      ++j;
    }
  }
  return row.back();
}

/// The words that ROUGE compares: lower case, everything but a-z and 0-9 (ASCII) separates.
[[nodiscard]] inline std::vector<std::string> rouge_words(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool counts = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (counts && !inside) words.emplace_back();
    if (counts) words.back().push_back(c);
    inside = counts;
  }
  return words;
}

/// F-measure of the longest common subsequence of two sequences of anything, in [0, 1]; 0 if they share
/// nothing.
template <std::ranges::random_access_range A, std::ranges::random_access_range B>
[[nodiscard]] double rouge_l(const A& reference, const B& candidate) {
  const double common = longest_common_subsequence(reference, candidate);
  if (common == 0) return 0;
  const double precision = common / static_cast<double>(std::ranges::distance(candidate));
  const double recall = common / static_cast<double>(std::ranges::distance(reference));
  return 2 * precision * recall / (precision + recall);
}

/// ROUGE-L of two texts, by their words.
[[nodiscard]] inline double rouge_l_of_text(std::string_view reference, std::string_view candidate) {
  return rouge_l(rouge_words(reference), rouge_words(candidate));
}

}  // namespace retort
