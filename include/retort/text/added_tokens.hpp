#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/characters.hpp"
#include "retort/text/vocabulary.hpp"

namespace retort {

/// A token that is found in the text itself, before any other step; names and meaning of tokenizer.json.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
  bool normalized = true;    ///< sought in the normalized text, in its own normalized form
  bool special = false;      ///< left out of decoded text if so wished
  bool operator==(const AddedToken&) const = default;
};

namespace detail {

/// A part of a text: an added token, or (id -1) what lies between them.
struct Section {
  std::size_t begin = 0, end = 0;
  TokenId id = -1;
};

/// Finds added tokens: from left to right, of those that begin at the same place the longest.
class AddedTokenFinder {
 public:
  /// `pattern` is the text to seek, which is not empty.
  void add(std::string pattern, AddedToken token) {
    auto& list = by_first_byte_[static_cast<unsigned char>(pattern.front())];
    const auto place =
        std::ranges::find_if(list, [&](const auto& e) { return e.first.size() < pattern.size(); });
    list.insert(place, {std::move(pattern), std::move(token)});
    empty_ = false;
  }

  /// The sections of `text`, end to end.
  [[nodiscard]] std::vector<Section> sections(std::string_view text) const {
    std::vector<Section> found;
    std::size_t from = 0;  // end of the last section
    for (std::size_t i = 0; !empty_ && i < text.size();) {
      const auto* entry = match(text.substr(i));
      if (!entry) {
        ++i;
        continue;
      }
      std::size_t begin = i, end = i + entry->first.size();
      i = end;  // also where the match is refused
      const AddedToken& token = entry->second;
      if (token.single_word && inside_word(text, begin, end)) continue;
      if (token.lstrip) begin = without_trailing_space(text.substr(0, begin)).size();
      if (token.rstrip) end = text.size() - without_leading_space(text.substr(end)).size();
      begin = std::max(begin, from);
      if (from < begin) found.push_back({from, begin, -1});
      found.push_back({begin, std::max(begin, end), token.id});
      from = std::max(begin, end);
    }
    if (from != text.size()) found.push_back({from, text.size(), -1});
    return found;
  }

 private:
  using Entry = std::pair<std::string, AddedToken>;
  std::array<std::vector<Entry>, 256> by_first_byte_;  // the longest first
  bool empty_ = true;

  [[nodiscard]] const Entry* match(std::string_view text) const {
    for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text.front())])
      if (text.starts_with(entry.first)) return &entry;
    return nullptr;
  }
  static bool inside_word(std::string_view text, std::size_t begin, std::size_t end) {
    return (begin > 0 && is_word(last_character(text.substr(0, begin)))) ||
           (end < text.size() && is_word(first_character(text.substr(end))));
  }
};

}  // namespace detail
}  // namespace retort
