#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// UTF-8, character by character (Unicode 15, table 3-7).
namespace retort::utf8 {

/// What stands in the place of bytes that are not UTF-8.
inline constexpr char32_t replacement = U'\uFFFD';
/// The same in UTF-8.
inline constexpr std::string_view replacement_bytes = "\xEF\xBF\xBD";

/// The first character of a text.
struct Character {
  char32_t code = 0;
  std::size_t size = 0;  ///< bytes
  bool valid = true;  ///< if not: `code` is U+FFFD and `size` the longest part that could begin a character
};

/// The first character of `text`, which must not be empty.
[[nodiscard]] inline Character first(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return {replacement, 1, false};
  // The second byte's range keeps out overlong forms, surrogates and what is above U+10FFFF.
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code = lead & (0xFFu >> (size + 1));
  for (std::size_t i = 1; i < size; ++i, low = 0x80, high = 0xBF) {
    if (i >= text.size() || byte(i) < low || byte(i) > high) return {replacement, i, false};
    code = (code << 6) | (byte(i) & 0x3F);
  }
  return {code, size, true};
}

/// Appends the character `code`, which must be a Unicode scalar value.
inline void append(std::string& to, char32_t code) {
  const auto put = [&](char32_t byte) { to.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | (code >> 6));
  } else {
    if (code < 0x10000) {
      put(0xE0 | (code >> 12));
    } else {
      put(0xF0 | (code >> 18));
      put(0x80 | ((code >> 12) & 0x3F));
    }
    put(0x80 | ((code >> 6) & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

/// Bytes at the start of `text` that are valid UTF-8: all of them if it equals the size.
[[nodiscard]] inline std::size_t valid_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Character c = first(text.substr(i));
    if (!c.valid) break;
    i += c.size;
  }
  return i;
}

/// The text with U+FFFD for every longest part of it that is no UTF-8 but could have become it: what Unicode
/// recommends (section 3.9), and what Python's `decode("utf-8", errors="replace")` and Rust's
/// `String::from_utf8_lossy` do.
[[nodiscard]] inline std::string repaired(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (;;) {
    const std::size_t good = valid_prefix(text);
    out += text.substr(0, good);
    text.remove_prefix(good);
    if (text.empty()) return out;
    out += replacement_bytes;
    text.remove_prefix(first(text).size);
  }
}

}  // namespace retort::utf8
