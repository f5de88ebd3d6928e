#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "retort/text/byte_level.hpp"
#include "retort/text/regex.hpp"
#include "retort/text/utf8.hpp"

/// The way back from tokens to text: the decoders of tokenizer.json. Each rewrites the list of tokens; in the
/// end they are put together.
namespace retort::decoders {

using Tokens = std::vector<std::string>;

/// Characters back to GPT-2's bytes. Bytes that are no UTF-8 become U+FFFD.
struct ByteLevel {
  bool operator==(const ByteLevel&) const = default;
  void operator()(Tokens& tokens) const {
    std::string bytes;
    for (const auto& token : tokens) byte_level::append_bytes(bytes, token);
    tokens.assign(1, utf8::repaired(bytes));
  }
};

/// SentencePiece's visible character back to spaces.
struct Metaspace {
  std::string replacement = "\u2581";
  bool drop_first = true;  ///< those of the first token vanish
  bool operator==(const Metaspace&) const = default;
  void operator()(Tokens& tokens) const {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      for (std::string_view rest = tokens[i]; !rest.empty();)
        if (rest.starts_with(replacement)) {
          if (i > 0 || !drop_first) out += ' ';
          rest.remove_prefix(replacement.size());
        } else {
          out += rest.front();
          rest.remove_prefix(1);
        }
      tokens[i] = std::move(out);
    }
  }
};

/// Every match of a pattern in a token by a text.
struct Replace {
  Regex regex;
  std::string content;
  bool operator==(const Replace&) const = default;

  [[nodiscard]] std::string replaced(std::string_view text) const {
    std::string out;
    std::size_t at = 0;
    regex.for_each(text, [&](std::size_t begin, std::size_t end) {
      out += text.substr(at, begin - at);
      out += content;
      at = end;
    });
    out += text.substr(at);
    return out;
  }
  void operator()(Tokens& tokens) const {
    for (auto& token : tokens)
      if (!token.empty()) token = replaced(token);
  }
};

/// Tokens <0x00> to <0xFF> to their bytes. A run of them that is no UTF-8 becomes as many U+FFFD.
struct ByteFallback {
  bool operator==(const ByteFallback&) const = default;
  void operator()(Tokens& tokens) const {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (utf8::valid_prefix(bytes) == bytes.size()) {
        if (!bytes.empty()) out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), std::string(utf8::replacement_bytes));
      }
      bytes.clear();
    };
    for (auto& token : tokens)
      if (const int byte = byte_of(token); byte >= 0) {
        bytes.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
      } else {
        flush();
        out.push_back(std::move(token));
      }
    flush();
    tokens = std::move(out);
  }

  /// The byte of a token <0x00> to <0xFF>, -1 for any other.
  [[nodiscard]] static int byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    int byte = 0;
    for (const char c : token.substr(3, 2)) {
      const auto digit =
          std::string_view("0123456789abcdef").find(c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c);
      if (digit == std::string_view::npos) return -1;
      byte = 16 * byte + static_cast<int>(digit);
    }
    return byte;
  }
};

/// All tokens as one.
struct Fuse {
  bool operator==(const Fuse&) const = default;
  void operator()(Tokens& tokens) const {
    std::string all;
    for (const auto& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

/// Removes a character from the ends of every token, at most so many times.
struct Strip {
  std::string content;  ///< one character
  std::size_t start = 0, stop = 0;
  bool operator==(const Strip&) const = default;
  void operator()(Tokens& tokens) const {
    for (auto& token : tokens) {
      std::string_view rest = token;
      for (std::size_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (std::size_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      token = std::string(rest);
    }
  }
};

}  // namespace retort::decoders

namespace retort {

/// One step of the way back; a sequence of them is a vector.
using DecoderStep = std::variant<decoders::ByteLevel, decoders::Metaspace, decoders::Replace,
                                 decoders::ByteFallback, decoders::Fuse, decoders::Strip>;

}  // namespace retort
