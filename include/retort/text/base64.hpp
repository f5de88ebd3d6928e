#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "retort/core/error.hpp"

namespace retort::detail {

/// The bytes that a text in base64 (RFC 4648, with padding) stands for. Throws ValueError if it is none.
[[nodiscard]] inline std::string from_base64(std::string_view text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0)
    fail<ValueError>("base64", "it has {} characters, not a multiple of 4", text.size());
  std::string_view body = text;
  for (int i = 0; i < 2 && body.ends_with('='); ++i) body.remove_suffix(1);
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const auto digit = digits.find(body[i]);
    if (digit == digits.npos) fail<ValueError>("base64", "character {} is none of its digits", i);
    bits = (bits << 6) | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(static_cast<unsigned char>((bits >> count) & 0xFF)));
  }
  return bytes;
}

}  // namespace retort::detail
