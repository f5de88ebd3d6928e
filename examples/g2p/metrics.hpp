#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "g2p/vocabulary.hpp"
#include "retort/core/error.hpp"
#include "retort/core/sequences.hpp"
#include "retort/eval/edit_distance.hpp"

/// Word and phoneme error rates.
namespace g2p {

/// Counts over a set of words. Rates of a set are ratios of sums, so counts of parts can be added.
struct Score {
  std::int64_t words = 0;
  std::int64_t wrong_words = 0;         ///< equal to none of their references
  std::int64_t edits = 0;               ///< edit distances to the nearest references
  std::int64_t reference_phonemes = 0;  ///< lengths of the nearest references

  /// Word error rate, 0 to 1; 0 without words.
  [[nodiscard]] double wer() const { return ratio(wrong_words, words); }

  /// Phoneme error rate; more than 1 if the hypotheses are long enough.
  [[nodiscard]] double per() const { return ratio(edits, reference_phonemes); }

  Score& operator+=(const Score& other) {
    words += other.words;
    wrong_words += other.wrong_words;
    edits += other.edits;
    reference_phonemes += other.reference_phonemes;
    return *this;
  }

  friend bool operator==(const Score&, const Score&) = default;

 private:
  static double ratio(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  }
};

/// The tokens before the first eos; all of them if there is none.
[[nodiscard]] inline std::span<const std::int32_t> before_eos(std::span<const std::int32_t> ids) {
  return ids.first(static_cast<std::size_t>(std::ranges::find(ids, Vocabulary::eos) - ids.begin()));
}

/// One word: its edit distance to the nearest reference (the first of equally near ones), and that one's
/// length. ValueError without a reference.
[[nodiscard]] inline Score score_word(std::span<const std::int32_t> hypothesis,
                                      const retort::Sequences& references) {
  if (references.empty()) retort::fail<retort::ValueError>("score", "a word has no reference pronunciation");
  const auto given = before_eos(hypothesis);
  Score best;
  for (int i = 0; i < references.size(); ++i) {
    const auto reference = before_eos(references[i]);
    const int edits = retort::edit_distance(given, reference);
    if (i == 0 || edits < best.edits) best = {1, edits > 0 ? 1 : 0, edits, std::ssize(reference)};
  }
  return best;
}

/// All words: `hypotheses[i]` against `references[i]`. ValueError if their numbers differ.
[[nodiscard]] inline Score score(const retort::Sequences& hypotheses,
                                 std::span<const retort::Sequences> references) {
  if (hypotheses.size() != std::ssize(references))
    retort::fail<retort::ValueError>("score", "{} hypotheses were given for {} words", hypotheses.size(),
                                     references.size());
  Score sum;
  for (int i = 0; i < hypotheses.size(); ++i)
    sum += score_word(hypotheses[i], references[static_cast<std::size_t>(i)]);
  return sum;
}

}  // namespace g2p
