#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "g2p/dictionary.hpp"
#include "retort/core/batch.hpp"
#include "retort/core/error.hpp"
#include "retort/core/sequences.hpp"

/// Token ids for spellings and pronunciations.
namespace g2p {

/// One vocabulary for both sides, as T5 has:
///   0            padding, and the token that a decoder starts from
///   1            end of sequence, on both sides
///   2 .. 28      the apostrophe and the letters a to z
///   29 ..        the phonemes, sorted
class Vocabulary {
 public:
  static constexpr std::int32_t pad = 0;
  static constexpr std::int32_t eos = 1;
  static constexpr std::int32_t first_letter = 2;
  static constexpr std::string_view letters = "'abcdefghijklmnopqrstuvwxyz";
  static constexpr std::int32_t first_phoneme = first_letter + static_cast<std::int32_t>(letters.size());

  /// `phonemes` in any order, repetitions allowed.
  explicit Vocabulary(std::vector<std::string> phonemes) : phonemes_(std::move(phonemes)) {
    std::ranges::sort(phonemes_);
    const auto rest = std::ranges::unique(phonemes_);
    phonemes_.erase(rest.begin(), rest.end());
  }

  /// With all phonemes of a dictionary.
  explicit Vocabulary(const Dictionary& dictionary) : Vocabulary(phonemes_of(dictionary)) {}

  /// Number of ids.
  [[nodiscard]] int size() const { return first_phoneme + static_cast<int>(phonemes_.size()); }

  /// The phonemes, sorted: with them the vocabulary can be made again.
  [[nodiscard]] const std::vector<std::string>& phonemes() const { return phonemes_; }

  /// The letters of a word, then eos. ValueError for a character that is no letter of the vocabulary.
  [[nodiscard]] std::vector<std::int32_t> encode_word(std::string_view word) const {
    std::vector<std::int32_t> ids;
    ids.reserve(word.size() + 1);
    for (const char c : word) {
      const auto place = letters.find(c);
      if (place == letters.npos)
        retort::fail<retort::ValueError>("vocabulary",
                                         "'{}' has the character '{}', only a-z and the apostrophe are known",
                                         printable(word), printable({&c, 1}));
      ids.push_back(first_letter + static_cast<std::int32_t>(place));
    }
    ids.push_back(eos);
    return ids;
  }

  /// The phonemes, then eos. ValueError for one that is not in the vocabulary.
  [[nodiscard]] std::vector<std::int32_t> encode(std::span<const std::string> pronunciation) const {
    std::vector<std::int32_t> ids;
    ids.reserve(pronunciation.size() + 1);
    for (const std::string& phoneme : pronunciation) {
      const auto at = std::ranges::lower_bound(phonemes_, phoneme);
      if (at == phonemes_.end() || *at != phoneme)
        retort::fail<retort::ValueError>("vocabulary", "'{}' is none of the {} phonemes of this vocabulary",
                                         printable(phoneme), phonemes_.size());
      ids.push_back(first_phoneme + static_cast<std::int32_t>(at - phonemes_.begin()));
    }
    ids.push_back(eos);
    return ids;
  }

  /// What an id stands for: a phoneme by its name, others as "<pad>", "<eos>", "<a>". ValueError for no id at
  /// all.
  [[nodiscard]] std::string symbol(std::int32_t id) const {
    if (id < 0 || id >= size())
      retort::fail<retort::ValueError>("vocabulary", "id {} was given, ids are 0 to {}", id, size() - 1);
    if (id == pad) return "<pad>";
    if (id == eos) return "<eos>";
    if (id < first_phoneme) return {'<', letters[static_cast<std::size_t>(id - first_letter)], '>'};
    return phonemes_[static_cast<std::size_t>(id - first_phoneme)];
  }

  /// The symbols up to the first eos, with blanks between them: "r eh d".
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids) const {
    std::string out;
    for (const std::int32_t id : ids) {
      if (id == eos) break;
      if (!out.empty()) out += ' ';
      out += symbol(id);
    }
    return out;
  }

  /// The letters up to the first eos: "read"; what is no letter as its symbol.
  [[nodiscard]] std::string decode_word(std::span<const std::int32_t> ids) const {
    std::string out;
    for (const std::int32_t id : ids) {
      if (id == eos) break;
      const bool is_letter = id >= first_letter && id < first_phoneme;
      out += is_letter ? std::string(1, letters[static_cast<std::size_t>(id - first_letter)])
                       : fmt::format("<{}>", symbol(id));
    }
    return out;
  }

  /// Equal if every id stands for the same symbol: what teacher and student must share.
  friend bool operator==(const Vocabulary&, const Vocabulary&) = default;

 private:
  static std::vector<std::string> phonemes_of(const Dictionary& dictionary) {
    std::set<std::string> out;
    for (const Entry& entry : dictionary.entries)
      for (const Pronunciation& pronunciation : entry.pronunciations)
        out.insert(pronunciation.begin(), pronunciation.end());
    return {out.begin(), out.end()};
  }

  std::vector<std::string> phonemes_;
};

/// Training pairs: one example for every pronunciation of every entry, numbered from 0.
[[nodiscard]] inline retort::Batch training_pairs(std::span<const Entry> entries,
                                                  const Vocabulary& vocabulary) {
  retort::Batch out;
  for (const Entry& entry : entries)
    for (const Pronunciation& pronunciation : entry.pronunciations)
      out.push_back(vocabulary.encode_word(entry.word), vocabulary.encode(pronunciation),
                    static_cast<std::uint64_t>(out.size()));
  return out;
}

/// What an evaluation needs: each word once, and all its pronunciations.
struct Questions {
  retort::Sequences words;                    ///< one a word, ending in eos
  std::vector<retort::Sequences> references;  ///< the pronunciations of each, ending in eos
};

/// The entries as questions, in their order.
[[nodiscard]] inline Questions questions(std::span<const Entry> entries, const Vocabulary& vocabulary) {
  Questions out;
  for (const Entry& entry : entries) {
    out.words.push_back(vocabulary.encode_word(entry.word));
    auto& references = out.references.emplace_back();
    for (const Pronunciation& pronunciation : entry.pronunciations)
      references.push_back(vocabulary.encode(pronunciation));
  }
  return out;
}

}  // namespace g2p
