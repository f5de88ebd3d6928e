#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/text/flat_map.hpp"
#include "retort/text/utf8.hpp"
#include "retort/text/vocabulary.hpp"

namespace retort {

/// Byte-pair encoding (Sennrich et al. 2016): a word begins as its characters, and again and again the pair
/// of neighbours with the lowest rank, the leftmost of equals, becomes one token, until no pair has a rank.
class Bpe {
 public:
  /// How characters without a token are treated, and the like; names and meaning of tokenizer.json.
  struct Options {
    std::optional<std::string> unknown =
        {};                      ///< token of a character that has none; without it such are dropped
    bool fuse_unknown = false;   ///< a run of unknown characters is one token
    bool byte_fallback = false;  ///< a character without a token becomes its bytes' tokens <0x00> to <0xFF>
    bool ignore_merges = false;  ///< a word that is a token is that token, whatever its pairs say
    bool operator==(const Options&) const = default;
  };

  /// Throws ValueError if the unknown token is none of the vocabulary.
  Bpe(Vocabulary vocabulary, Options options)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    if (options_.unknown) {
      unknown_ = vocabulary_.id(*options_.unknown);
      if (!unknown_)
        fail<ValueError>("bpe", "the unknown token '{}' is not in the vocabulary", *options_.unknown);
    }
    joins_words_ = options_.ignore_merges || !vocabulary_.id(space);
    bytes_.fill(none);
    if (options_.byte_fallback)
      for (unsigned b = 0; b < 256; ++b)
        bytes_[b] = vocabulary_.id(fmt::format("<0x{:02X}>", b)).value_or(none);
  }

  /// Adds the merge of two tokens, of a rank behind those added before. Throws ValueError if one of the two
  /// or what they make together is not in the vocabulary. A pair added twice has its later rank.
  void add_merge(std::string_view left, std::string_view right) {
    const auto find = [&](std::string_view token) {
      const auto id = vocabulary_.id(token);
      if (!id) fail<ValueError>("bpe", "merge '{} {}': '{}' is not in the vocabulary", left, right, token);
      return *id;
    };
    const TokenId a = find(left), b = find(right);
    joins_words_ |= right.starts_with(space) && !left.ends_with(space);
    merges_.set(key(a, b), {next_rank_++, find(std::string(left).append(right))});
  }

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Bytes at the start of `text` whose ids do not depend on what follows. Where text is not cut into words
  /// (LLaMA 2), a word still begins at each visible space of SentencePiece behind another character, if no
  /// merge joins the two: the ids are the same, and words can be cached.
  [[nodiscard]] std::size_t independent_prefix(std::string_view text) const {
    if (joins_words_) return text.size();
    for (std::size_t at = text.find(space, 1); at != text.npos; at = text.find(space, at + 1))
      if (!text.substr(0, at).ends_with(space)) return at;
    return text.size();
  }

  /// Appends the ids of `word`, which is valid UTF-8 and not cut further.
  void encode(std::string_view word, std::vector<TokenId>& ids) const {
    if (options_.ignore_merges)
      if (const auto id = vocabulary_.id(word)) return ids.push_back(*id);
    std::vector<Symbol> symbols = characters(word);
    merge(symbols);
    for (const Symbol& symbol : symbols)
      if (symbol.alive) ids.push_back(symbol.id);
  }

  bool operator==(const Bpe& other) const {
    return vocabulary_ == other.vocabulary_ && options_ == other.options_ && merges_ == other.merges_;
  }

 private:
  static constexpr TokenId none = -1;
  static constexpr std::string_view space = "\u2581";
  struct Merge {
    std::uint32_t rank = 0;
    TokenId result = none;
    bool operator==(const Merge&) const = default;
  };
  struct Symbol {
    TokenId id = none;
    std::int32_t previous = none, next = none;  // places in the list
    bool alive = true;
  };
  struct Candidate {
    Merge merge;
    std::int32_t place = 0;                         // of the left symbol
    bool operator<(const Candidate& other) const {  // a priority queue has its largest on top
      return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : place > other.place;
    }
  };

  Vocabulary vocabulary_;
  Options options_;
  std::optional<TokenId> unknown_;
  std::array<TokenId, 256> bytes_{};  // of byte_fallback
  detail::FlatMap<Merge> merges_;
  std::uint32_t next_rank_ = 0;
  bool joins_words_ = false;  // something may join a visible space with what stands before it

  static std::uint64_t key(TokenId left, TokenId right) {
    return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint32_t>(right);
  }

  [[nodiscard]] std::vector<Symbol> characters(std::string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    const auto add = [&](TokenId id) {
      const auto place = static_cast<std::int32_t>(symbols.size());
      if (place > 0) symbols.back().next = place;
      symbols.push_back({id, place - 1, none, true});
    };
    bool unknown_waits = false;  // known only at the next character whether it is to be fused
    for (std::size_t i = 0, size = 0; i < word.size(); i += size) {
      size = utf8::first(word.substr(i)).size;
      const std::string_view character = word.substr(i, size);
      if (const auto id = vocabulary_.id(character)) {
        if (std::exchange(unknown_waits, false)) add(*unknown_);
        add(*id);
      } else if (options_.byte_fallback && has_bytes(character)) {
        for (const char b : character) add(bytes_[static_cast<unsigned char>(b)]);
      } else if (unknown_) {
        if (unknown_waits && !options_.fuse_unknown) add(*unknown_);
        unknown_waits = true;
      }
    }
    if (unknown_waits) add(*unknown_);
    return symbols;
  }

  [[nodiscard]] bool has_bytes(std::string_view character) const {
    return std::ranges::all_of(character,
                               [&](char b) { return bytes_[static_cast<unsigned char>(b)] != none; });
  }

  void merge(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> queue;
    const auto consider = [&](std::int32_t place) {
      if (place == none) return;
      const Symbol& left = symbols[static_cast<std::size_t>(place)];
      if (left.next == none) return;
      const TokenId right = symbols[static_cast<std::size_t>(left.next)].id;
      if (const Merge* merge = merges_.find(key(left.id, right))) queue.push({*merge, place});
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<std::size_t>(best.place)];
      if (!left.alive || left.next == none) continue;
      Symbol& right = symbols[static_cast<std::size_t>(left.next)];
      const Merge* merge = merges_.find(key(left.id, right.id));
      if (!merge || *merge != best.merge) continue;  // one of the two has become something else
      left.id = merge->result;
      left.next = right.next;
      right.alive = false;
      if (left.next != none) symbols[static_cast<std::size_t>(left.next)].previous = best.place;
      consider(left.previous);
      consider(best.place);
    }
  }
};

}  // namespace retort
