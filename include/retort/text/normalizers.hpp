#pragma once

#include <utf8proc.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "retort/core/error.hpp"
#include "retort/text/byte_level.hpp"
#include "retort/text/characters.hpp"
#include "retort/text/charsmap.hpp"
#include "retort/text/decoders.hpp"
#include "retort/text/utf8.hpp"

/// What is done to a text before it is cut into pieces: the normalizers of tokenizer.json. Each rewrites a
/// text of valid UTF-8.
namespace retort::normalizers {

/// Unicode's normalization forms (Unicode annex 15).
struct Unicode {
  enum class Form { nfc, nfd, nfkc, nfkd };
  Form form = Form::nfc;
  bool operator==(const Unicode&) const = default;

  void operator()(std::string& text) const {
    if (std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return;
    const bool compose = form == Form::nfc || form == Form::nfkc;
    const bool compatible = form == Form::nfkc || form == Form::nfkd;
    const auto options =
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                       (compatible ? UTF8PROC_COMPAT : 0));
    utf8proc_uint8_t* result = nullptr;
    const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &result, options);
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, std::free);
    if (size < 0) fail<ValueError>("normalize", "{}", utf8proc_errmsg(size));
    text.assign(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  }
};

/// Each character's lower case, without regard to its neighbours.
struct Lowercase {
  bool operator==(const Lowercase&) const = default;
  void operator()(std::string& text) const {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0, size = 0; i < text.size(); i += size) {
      const auto c = utf8::first(std::string_view(text).substr(i));
      size = c.size;
      if (c.code == 0x130)
        out += "i\u0307";  // the one character whose lower case is two
      else
        utf8::append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code))));
    }
    text = std::move(out);
  }
};

/// A text in front of one that is not empty.
struct Prepend {
  std::string content;
  bool operator==(const Prepend&) const = default;
  void operator()(std::string& text) const {
    if (!text.empty()) text.insert(0, content);
  }
};

/// Every match of a pattern by a text.
struct Replace {
  decoders::Replace rule;
  bool operator==(const Replace&) const = default;
  void operator()(std::string& text) const {
    if (!text.empty()) text = rule.replaced(text);
  }
};

/// White space at the ends removed.
struct Strip {
  bool left = true, right = true;
  bool operator==(const Strip&) const = default;
  void operator()(std::string& text) const {
    const std::string_view all = text;
    std::size_t begin = 0, end = all.size();
    if (left) begin = all.size() - without_leading_space(all).size();
    if (right) end = begin + without_trailing_space(all.substr(begin)).size();
    text = text.substr(begin, end - begin);
  }
};

/// Marks removed (general category M).
struct StripAccents {
  bool operator==(const StripAccents&) const = default;
  void operator()(std::string& text) const {
    static const decoders::Replace rule{Regex("\\p{M}+"), ""};
    if (!text.empty()) text = rule.replaced(text);
  }
};

/// GPT-2's characters in the place of bytes.
struct ByteLevel {
  bool operator==(const ByteLevel&) const = default;
  void operator()(std::string& text) const {
    std::string out;
    byte_level::append_characters(out, text);
    text = std::move(out);
  }
};

}  // namespace retort::normalizers

namespace retort {

/// One step of normalization; a sequence of them is a vector.
using Normalizer =
    std::variant<normalizers::Unicode, normalizers::Lowercase, normalizers::Prepend, normalizers::Replace,
                 normalizers::Strip, normalizers::StripAccents, normalizers::ByteLevel, Charsmap>;

}  // namespace retort
