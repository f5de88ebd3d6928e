#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "retort/text/added_tokens.hpp"
#include "retort/text/bpe.hpp"
#include "retort/text/decoders.hpp"
#include "retort/text/normalizers.hpp"
#include "retort/text/pre_tokenizers.hpp"
#include "retort/text/tokenizer.hpp"
#include "retort/text/unigram.hpp"
#include "retort/text/word_cache.hpp"

namespace retort {

/// What a tokenizer of the Hugging Face kind consists of.
struct PipelineParts {
  std::vector<AddedToken> added = {};
  std::vector<Normalizer> normalizers = {};
  std::vector<PreTokenizer> pre_tokenizers = {};
  std::variant<Bpe, Unigram> model;
  std::vector<DecoderStep> decoders = {};
  bool has_decoder = false;  ///< without one the tokens are joined by spaces
};

/// A tokenizer in steps: find added tokens, normalize what lies between them, cut it into pieces, encode each
/// piece.
class Pipeline final : public TokenCodec {
 public:
  /// Throws ValueError if an added token's id is that of another token.
  explicit Pipeline(PipelineParts parts) : parts_(std::move(parts)) {
    for (const AddedToken& token : parts_.added) {
      if (token.content.empty()) continue;
      const auto known = model_vocabulary().id(token.content);
      const auto* taken = model_vocabulary().token(token.id);
      if ((known && *known != token.id) || (taken && *taken != token.content) || token.id < 0 ||
          token.id > Vocabulary::largest)
        fail<ValueError>("tokenizer", "the added token '{}' cannot have the id {}{}", token.content, token.id,
                         known   ? fmt::format(": in the vocabulary it has {}", *known)
                         : taken ? fmt::format(": that is '{}'", *taken)
                                 : "");
      Entry entry{token, token.content};
      if (token.normalized) normalize(entry.text);
      if (!entry.text.empty()) (token.normalized ? normalized_ : raw_).add(entry.text, token);
      if (!by_content_.try_emplace(token.content, token.id).second)
        fail<ValueError>("tokenizer", "the added token '{}' is there twice", token.content);
      if (token.special) special_.insert(token.content);
      size_ = std::max(size_, token.id + 1);
      if (const auto [other, is_new] = by_id_.try_emplace(token.id, std::move(entry)); !is_new)
        fail<ValueError>("tokenizer", "the added tokens '{}' and '{}' both have the id {}",
                         other->second.token.content, token.content, token.id);
    }
    size_ = std::max(size_, model_vocabulary().size());
  }

  void encode(std::string_view text, std::vector<TokenId>& ids) const override {
    detail::Leases<detail::WordCache>::Lease cache(caches_);
    for (const auto& outer : raw_.sections(text)) {
      if (outer.id >= 0) {
        ids.push_back(outer.id);
        continue;
      }
      std::string normal(text.substr(outer.begin, outer.end - outer.begin));
      normalize(normal);
      for (const auto& inner : normalized_.sections(normal))
        if (inner.id >= 0)
          ids.push_back(inner.id);
        else
          encode_section(normal.substr(inner.begin, inner.end - inner.begin),
                         outer.begin == 0 && inner.begin == 0, *cache, ids);
    }
  }

  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    decoders::Tokens tokens;
    for (const TokenId id : ids) {
      const auto added = by_id_.find(id);
      const std::string* text = added != by_id_.end() ? &added->second.text : model_vocabulary().token(id);
      if (text && !(skip_special && special_.contains(*text))) tokens.push_back(*text);
    }
    for (const DecoderStep& decoder : parts_.decoders)
      std::visit([&](const auto& step) { step(tokens); }, decoder);
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && !parts_.has_decoder) out += ' ';
      out += tokens[i];
    }
    return out;
  }

  [[nodiscard]] bool may_change(TokenId last) const override {
    const auto falls_back = [](const DecoderStep& step) {
      return std::holds_alternative<decoders::ByteFallback>(step);
    };
    const std::string* text = model_vocabulary().token(last);
    return text && decoders::ByteFallback::byte_of(*text) >= 0 &&
           std::ranges::any_of(parts_.decoders, falls_back);
  }

  [[nodiscard]] TokenId size() const override { return size_; }
  [[nodiscard]] std::optional<std::string> token(TokenId id) const override {
    if (const auto added = by_id_.find(id); added != by_id_.end()) return added->second.token.content;
    const std::string* text = model_vocabulary().token(id);
    return text ? std::optional(*text) : std::nullopt;
  }
  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const override {
    if (const auto added = by_content_.find(token); added != by_content_.end()) return added->second;
    return model_vocabulary().id(token);
  }

  [[nodiscard]] bool same(const TokenCodec& other) const override {
    const auto* theirs = dynamic_cast<const Pipeline*>(&other);
    const auto sorted = [](std::vector<AddedToken> list) {
      std::ranges::sort(list, {}, &AddedToken::id);
      return list;
    };
    return theirs && sorted(parts_.added) == sorted(theirs->parts_.added) &&
           parts_.normalizers == theirs->parts_.normalizers &&
           parts_.pre_tokenizers == theirs->parts_.pre_tokenizers && parts_.model == theirs->parts_.model &&
           parts_.decoders == theirs->parts_.decoders && parts_.has_decoder == theirs->parts_.has_decoder;
  }

 private:
  struct Entry {
    AddedToken token;
    std::string text;  // the content, normalized if the token is
  };

  PipelineParts parts_;
  std::map<TokenId, Entry> by_id_;
  std::map<std::string, TokenId, std::less<>> by_content_;
  std::set<std::string, std::less<>> special_;  // contents
  detail::AddedTokenFinder raw_, normalized_;
  TokenId size_ = 0;
  mutable detail::Leases<detail::WordCache> caches_;

  [[nodiscard]] const Vocabulary& model_vocabulary() const {
    return std::visit([](const auto& model) -> const Vocabulary& { return model.vocabulary(); },
                      parts_.model);
  }

  void normalize(std::string& text) const {
    for (const Normalizer& normalizer : parts_.normalizers)
      std::visit([&](const auto& step) { step(text); }, normalizer);
  }

  void encode_section(std::string text, bool at_start, detail::WordCache& cache,
                      std::vector<TokenId>& ids) const {
    if (text.empty()) return;
    pre_tokenizers::Pieces pieces{std::move(text), {}, at_start};
    pieces.ranges.push_back({0, pieces.text.size()});
    for (const PreTokenizer& step : parts_.pre_tokenizers)
      std::visit([&](const auto& s) { s(pieces); }, step);
    std::visit(
        [&](const auto& model) {
          for (const auto& range : pieces.ranges)
            for (std::string_view rest = pieces[range]; !rest.empty();) {
              const std::string_view word = rest.substr(0, model.independent_prefix(rest));
              rest.remove_prefix(word.size());
              if (cache.append(word, ids)) continue;
              const std::size_t before = ids.size();
              model.encode(word, ids);
              cache.keep(word, std::span(ids).subspan(before));
            }
        },
        parts_.model);
  }
};

}  // namespace retort
