#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "arithmetic/problems.hpp"
#include "retort/core/error.hpp"

/// Tokens of problems and solutions: frequent words, and characters for all the rest.
namespace arithmetic {

/// A decoder's vocabulary:
///   0            not used (padding of other software)
///   1            end of a response
///   2            the line feed
///   3 .. 97      the characters from the blank to the tilde
///   98 ..        words: letters, or one sign several times ("<<", "####"), perhaps with a blank before them
/// A text has one encoding, and decoding gives the text back. Digits are always characters.
class Vocabulary {
 public:
  static constexpr std::int32_t end = 1;
  static constexpr std::int32_t first_character = 2, first_word = 98;

  /// With these words, each once.
  explicit Vocabulary(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::size_t i = 0; i < words_.size(); ++i)
      if (!ids_.emplace(words_[i], first_word + static_cast<std::int32_t>(i)).second)
        retort::fail<retort::ValueError>("vocabulary", "the word '{}' is there twice", words_[i]);
  }

  /// With the `most` most frequent words of the problems' texts of those that occur at least twice and have
  /// at least two characters.
  [[nodiscard]] static Vocabulary of(std::span<const Problem> problems, int most) {
    std::map<std::string, std::int64_t, std::less<>> counts;
    for (const Problem& problem : problems)
      for (const std::string_view text :
           {std::string_view(problem.question), std::string_view(problem.answer)})
        for (std::size_t at = 0; at < text.size();) {
          const std::size_t length = word_at(text, at);
          if (length > 1) {
            const auto word = text.substr(at, length);
            if (auto found = counts.find(word); found != counts.end())
              ++found->second;
            else
              counts.emplace(word, 1);
          }
          at += std::max<std::size_t>(1, length);
        }
    std::vector<std::pair<std::int64_t, std::string>> order;
    for (const auto& [word, count] : counts)
      if (count > 1) order.emplace_back(-count, word);
    std::ranges::sort(order);
    std::vector<std::string> words;
    for (const auto& [count, word] : order)
      if (std::ssize(words) < most) words.push_back(word);
    return Vocabulary(std::move(words));
  }

  [[nodiscard]] int size() const { return first_word + static_cast<int>(words_.size()); }
  [[nodiscard]] const std::vector<std::string>& words() const { return words_; }

  /// The tokens of a text, without an end; nothing if it has a character that there is no token for.
  [[nodiscard]] std::optional<std::vector<std::int32_t>> encode(std::string_view text) const {
    std::vector<std::int32_t> out;
    for (std::size_t at = 0; at < text.size();) {
      if (const std::size_t length = word_at(text, at); length > 1)
        if (const auto word = ids_.find(std::string(text.substr(at, length))); word != ids_.end()) {
          out.push_back(word->second);
          at += length;
          continue;
        }
      const char c = text[at++];
      if (c == '\n')
        out.push_back(first_character);
      else if (c >= ' ' && c <= '~')
        out.push_back(first_character + 1 + (c - ' '));
      else
        return {};
    }
    return out;
  }

  /// The text up to the first end. ValueError for an id that is none.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids) const {
    std::string out;
    for (const std::int32_t id : ids) {
      if (id == end) break;
      if (id < 0 || id >= size())
        retort::fail<retort::ValueError>("vocabulary", "id {} was given, ids are 0 to {}", id, size() - 1);
      if (id >= first_word)
        out += words_[static_cast<std::size_t>(id - first_word)];
      else if (id == first_character)
        out += '\n';
      else if (id > first_character)
        out += static_cast<char>(' ' + (id - first_character - 1));
    }
    return out;
  }

 private:
  // Length of the word at this place, a blank before it included; 0 for a digit, a line feed, a lone blank.
  static std::size_t word_at(std::string_view text, std::size_t at) {
    const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    const std::size_t first = at + (text[at] == ' ' ? 1 : 0);
    if (first >= text.size()) return 0;
    const char c = text[first];
    if (c <= ' ' || c > '~' || (c >= '0' && c <= '9')) return 0;
    std::size_t stop = first + 1;
    while (stop < text.size() && (letter(c) ? letter(text[stop]) : text[stop] == c)) ++stop;
    return stop - at;
  }

  std::vector<std::string> words_;
  std::unordered_map<std::string, std::int32_t> ids_;
};

}  // namespace arithmetic
