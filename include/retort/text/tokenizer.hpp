#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/scalar.hpp"
#include "retort/text/utf8.hpp"
#include "retort/text/vocabulary.hpp"

namespace retort {

/// The kind of a tokenizer: how text becomes ids and ids become text. Immutable; any number of threads may
/// use it.
class TokenCodec {
 public:
  TokenCodec() = default;
  TokenCodec(const TokenCodec&) = delete;
  TokenCodec& operator=(const TokenCodec&) = delete;
  virtual ~TokenCodec() = default;

  /// Appends the ids of `text`, which is valid UTF-8, without the tokens that mark a sequence's ends.
  virtual void encode(std::string_view text, std::vector<TokenId>& ids) const = 0;
  /// The text of `ids`, valid UTF-8. Ids without a token give nothing.
  [[nodiscard]] virtual std::string decode(std::span<const TokenId> ids, bool skip_special) const = 0;

  /// Whether the text of ids that end with `last` may become another when more follow, otherwise than by an
  /// incomplete character at its end.
  [[nodiscard]] virtual bool may_change(TokenId last) const = 0;

  /// One more than the largest id.
  [[nodiscard]] virtual TokenId size() const = 0;
  [[nodiscard]] virtual std::optional<std::string> token(TokenId id) const = 0;
  [[nodiscard]] virtual std::optional<TokenId> id(std::string_view token) const = 0;

  /// Whether `other` has the same tokens and the same rules.
  [[nodiscard]] virtual bool same(const TokenCodec& other) const = 0;
};

/// The ids with a meaning of their own, where the tokenizer's files name them.
struct SpecialIds {
  std::optional<TokenId> bos, eos, pad, unk;
  std::vector<TokenId> stop;  ///< all that end a generation: eos, and what generation_config.json adds
};

/// What `encode` puts around a sequence if asked to.
struct SequenceEnds {
  std::vector<TokenId> before, after;
};

/// A tokenizer. A value; copies share what was loaded. `load_tokenizer` makes one from files.
class Tokenizer {
 public:
  explicit Tokenizer(std::shared_ptr<const TokenCodec> codec, SpecialIds special = {}, SequenceEnds ends = {})
      : codec_(std::move(codec)), special_(std::move(special)), ends_(std::move(ends)) {}

  /// The ids of `text`. `add_special` puts the tokens around it that the tokenizer's files ask for (`<s>`,
  /// `</s>`). An empty text has no ids but those. Bytes that are not UTF-8 are read as U+FFFD, as Python's
  /// `errors="replace"` does.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool add_special = true) const {
    std::vector<TokenId> ids;
    if (add_special) ids = ends_.before;
    if (utf8::valid_prefix(text) == text.size())
      codec_->encode(text, ids);
    else
      codec_->encode(utf8::repaired(text), ids);
    if (add_special) ids.insert(ids.end(), ends_.after.begin(), ends_.after.end());
    return ids;
  }

  /// The text of `ids`; `skip_special` leaves out special tokens. Always valid UTF-8: an incomplete character
  /// is U+FFFD. An id that has no token, which a padded vocabulary allows, gives nothing; a negative one
  /// throws ValueError.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special = true) const {
    for (const TokenId id : ids)
      if (id < 0) fail<ValueError>("decode", "{} is no token id", id);
    return codec_->decode(ids, skip_special);
  }

  /// The rows a model needs for all ids: one more than the largest, with the added tokens.
  [[nodiscard]] Index vocabulary() const { return codec_->size(); }

  /// The token as the vocabulary spells it; none where an id has no token.
  [[nodiscard]] std::optional<std::string> token(TokenId id) const { return codec_->token(id); }
  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const { return codec_->id(token); }

  [[nodiscard]] std::optional<TokenId> bos() const { return special_.bos; }
  [[nodiscard]] std::optional<TokenId> eos() const { return special_.eos; }
  [[nodiscard]] std::optional<TokenId> pad() const { return special_.pad; }
  [[nodiscard]] std::optional<TokenId> unk() const { return special_.unk; }
  /// All ids that end a generation.
  [[nodiscard]] const std::vector<TokenId>& stop() const { return special_.stop; }
  /// What `encode` puts around a sequence.
  [[nodiscard]] const SequenceEnds& ends() const { return ends_; }
  /// The same tokenizer with other special ids.
  [[nodiscard]] Tokenizer with_special(SpecialIds special) const {
    return Tokenizer(codec_, std::move(special), ends_);
  }
  /// The same tokenizer with other tokens around a sequence.
  [[nodiscard]] Tokenizer with_ends(SequenceEnds ends) const {
    return Tokenizer(codec_, special_, std::move(ends));
  }

  /// 64 bits of the token table, for logs and checkpoints (FNV-1a, Fowler, Noll and Vo). Equal tokenizers
  /// have equal ones; `same_tokens` tells.
  [[nodiscard]] std::uint64_t digest() const {
    std::uint64_t hash = 0xCBF29CE484222325;
    const auto add = [&](char byte) { hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3; };
    for (TokenId i = 0; i < codec_->size(); ++i) {
      if (const auto text = codec_->token(i))
        for (const char c : *text) add(c);
      add('\xFF');  // in no UTF-8
    }
    return hash;
  }

  [[nodiscard]] const TokenCodec& codec() const { return *codec_; }

 private:
  std::shared_ptr<const TokenCodec> codec_;
  SpecialIds special_;
  SequenceEnds ends_;
};

/// Whether two tokenizers give every text the same ids, by what they contain: token table, merges or scores,
/// and all rules, whatever files they come from. The tokens around a sequence and the names of special ones
/// may differ, and so may the number of rows of the models that use them.
[[nodiscard]] inline bool same_tokens(const Tokenizer& a, const Tokenizer& b) {
  return &a.codec() == &b.codec() || a.codec().same(b.codec());
}

/// Throws ValueError if a model with `rows` rows of embedding lacks rows for tokens of `tokenizer`. More rows
/// than tokens are padding and no error.
inline void check_vocabulary(const Tokenizer& tokenizer, Index rows) {
  if (rows < tokenizer.vocabulary())
    fail<ValueError>(
        "tokenizer",
        "the model has {} rows for tokens, the tokenizer's largest id is {}: they do not belong together",
        rows, tokenizer.vocabulary() - 1);
}

}  // namespace retort
