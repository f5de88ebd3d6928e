#pragma once

#include <utf8proc.h>

#include <string_view>

#include "retort/text/regex.hpp"
#include "retort/text/utf8.hpp"

/// Questions about single characters.
namespace retort {

/// Unicode's White_Space: the separators, and the controls that are spaces.
[[nodiscard]] inline bool is_white_space(char32_t c) {
  if ((c >= 0x09 && c <= 0x0D) || c == 0x85) return true;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

/// Whether `character`, the UTF-8 of one, can be part of a word (`\w` of Unicode technical standard 18).
[[nodiscard]] inline bool is_word(std::string_view character) {
  static const Regex word("[\\w\\x{200C}\\x{200D}]");
  bool found = false;
  word.for_each(character, [&](std::size_t, std::size_t) { found = true; });
  return found;
}

/// The first character of a text that is valid UTF-8 and not empty.
[[nodiscard]] inline std::string_view first_character(std::string_view text) {
  return text.substr(0, utf8::first(text).size);
}
/// The last one.
[[nodiscard]] inline std::string_view last_character(std::string_view text) {
  std::size_t i = text.size() - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) --i;
  return text.substr(i);
}

/// The text from its first character on that is no white space.
[[nodiscard]] inline std::string_view without_leading_space(std::string_view text) {
  while (!text.empty() && is_white_space(utf8::first(text).code)) text.remove_prefix(utf8::first(text).size);
  return text;
}
/// The text up to its last character that is no white space.
[[nodiscard]] inline std::string_view without_trailing_space(std::string_view text) {
  while (!text.empty() && is_white_space(utf8::first(last_character(text)).code))
    text.remove_suffix(last_character(text).size());
  return text;
}

}  // namespace retort
