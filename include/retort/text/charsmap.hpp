#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/text/regex.hpp"
#include "retort/text/utf8.hpp"

namespace retort {

/// SentencePiece's table of normalizations, `precompiled_charsmap`: a double-array trie (Aoe 1989, in the
/// layout of the darts-clone library) from strings to their replacements. It is applied as the Hugging Face
/// tokenizers do, which is not quite as SentencePiece does: character cluster by character cluster, with the
/// shortest entry.
class Charsmap {
 public:
  /// The decoded bytes: the trie's size, the trie, the replacements with a zero byte behind each. Throws
  /// ValueError if they cannot be that.
  explicit Charsmap(std::string bytes) : bytes_(std::move(bytes)) {
    static_assert(std::endian::native == std::endian::little);
    std::uint32_t size = 0;
    if (bytes_.size() < sizeof size) fail<ValueError>("charsmap", "it has {} bytes", bytes_.size());
    std::memcpy(&size, bytes_.data(), sizeof size);
    if (size % 4 != 0 || size == 0 || size > bytes_.size() - sizeof size)
      fail<ValueError>("charsmap", "its trie has {} bytes, it has {}", size, bytes_.size());
    trie_.resize(size / 4);
    std::memcpy(trie_.data(), bytes_.data() + sizeof size, size);
    replacements_ = sizeof size + size;
    if (utf8::valid_prefix(std::string_view(bytes_).substr(replacements_)) != bytes_.size() - replacements_)
      fail<ValueError>("charsmap", "its replacements are not UTF-8");
  }

  void operator()(std::string& text) const {
    static const Regex cluster("\\X", Regex::Syntax::pcre2);
    std::string out;
    out.reserve(text.size());
    const std::string_view all = text;
    cluster.for_each(all, [&](std::size_t begin, std::size_t end) {
      const std::string_view characters = all.substr(begin, end - begin);
      if (characters.size() < 6)
        if (const auto found = find(characters)) {
          out += *found;
          return;
        }
      for (std::size_t i = 0, size = 0; i < characters.size(); i += size) {
        size = utf8::first(characters.substr(i)).size;
        out += find(characters.substr(i, size)).value_or(characters.substr(i, size));
      }
    });
    text = std::move(out);
  }

  bool operator==(const Charsmap& other) const { return bytes_ == other.bytes_; }

 private:
  std::string bytes_;
  std::vector<std::uint32_t> trie_;
  std::size_t replacements_ = 0;  // where they begin in bytes_

  /// The replacement of the shortest entry that `text` begins with.
  [[nodiscard]] std::optional<std::string_view> find(std::string_view text) const {
    std::size_t node = offset(trie_[0]);
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == 0) return std::nullopt;
      node ^= byte;
      if (node >= trie_.size()) return std::nullopt;
      const std::uint32_t unit = trie_[node];
      if ((unit & 0x800000FFu) != byte) return std::nullopt;
      node ^= offset(unit);
      if ((unit & 0x100u) != 0) {  // an entry ends here
        if (node >= trie_.size()) return std::nullopt;
        const std::size_t begin = replacements_ + (trie_[node] & 0x7FFFFFFFu);
        if (begin >= bytes_.size()) return std::nullopt;
        const std::size_t end = bytes_.find('\0', begin);
        return std::string_view(bytes_).substr(begin, end == std::string::npos ? end : end - begin);
      }
    }
    return std::nullopt;
  }
  static std::size_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }
};

}  // namespace retort
