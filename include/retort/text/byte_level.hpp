#pragma once

#include <array>
#include <string>
#include <string_view>

#include "retort/text/utf8.hpp"

/// GPT-2's bytes as printable characters (Radford et al. 2019): byte-level vocabularies are text files in
/// which every byte is one character, itself where it is printable Latin-1 and one from U+0100 on where it is
/// not.
namespace retort::byte_level {

namespace detail {
struct Table {
  std::array<char32_t, 256> characters{};
  std::array<std::array<char, 3>, 256> bytes{};  // UTF-8 of the character and its size
  std::array<short, 0x144> back{};               // character to byte, -1 for none
  constexpr Table() {
    back.fill(-1);
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t c = itself ? b : next++;
      characters[b] = c;
      back[c] = static_cast<short>(b);
      if (c < 0x80)
        bytes[b] = {static_cast<char>(c), 0, 1};
      else
        bytes[b] = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F)), 2};
    }
  }
};
inline constexpr Table table;
}  // namespace detail

/// Appends the characters of `bytes`.
inline void append_characters(std::string& to, std::string_view bytes) {
  const std::size_t start = to.size();
  to.resize(start + 2 * bytes.size());
  char* out = to.data() + start;
  for (const char b : bytes) {
    const auto& entry = detail::table.bytes[static_cast<unsigned char>(b)];
    out[0] = entry[0];
    out[1] = entry[1];
    out += entry[2];
  }
  to.resize(static_cast<std::size_t>(out - to.data()));
}

/// Appends the bytes that `characters` stand for; if one of them stands for none, `characters` as they are.
inline void append_bytes(std::string& to, std::string_view characters) {
  const std::size_t start = to.size();
  for (std::size_t i = 0; i < characters.size();) {
    const auto c = utf8::first(characters.substr(i));
    if (c.code >= detail::table.back.size() || detail::table.back[c.code] < 0) {
      to.resize(start);
      to += characters;
      return;
    }
    to.push_back(static_cast<char>(static_cast<unsigned char>(detail::table.back[c.code])));
    i += c.size;
  }
}

/// The pattern by which GPT-2 cuts text into words.
inline constexpr const char* pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace retort::byte_level
