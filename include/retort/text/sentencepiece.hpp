#pragma once

#include <sentencepiece_processor.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/added_tokens.hpp"
#include "retort/text/tokenizer.hpp"

namespace retort {

/// A SentencePiece model (Kudo & Richardson 2018) of any kind, run by the SentencePiece library, with tokens
/// that are found in the text before it.
class SentencePieceCodec final : public TokenCodec {
 public:
  /// `model` is the content of a .model file. An added token has an id of its own above the model's, or that
  /// of the piece with its name. Throws ValueError if the model is damaged or an id is taken.
  explicit SentencePieceCodec(std::string model, std::vector<AddedToken> added = {})
      : bytes_(std::move(model)), added_(std::move(added)) {
    if (const auto status = processor_.LoadFromSerializedProto(bytes_); !status.ok())
      fail<ValueError>("sentencepiece", "no SentencePiece model or a damaged one: {}", status.ToString());
    size_ = processor_.GetPieceSize();
    if (size_ == 0) fail<ValueError>("sentencepiece", "the model has no pieces");
    for (TokenId id = 0; id < size_; ++id) pieces_.try_emplace(processor_.IdToPiece(id), id);
    for (const AddedToken& token : added_) {
      const auto piece = pieces_.find(token.content);
      if (piece != pieces_.end() ? piece->second != token.id : token.id < processor_.GetPieceSize())
        fail<ValueError>("sentencepiece", "the added token '{}' cannot have the id {}", token.content,
                         token.id);
      const auto [other, is_new] = by_id_.try_emplace(token.id, token);
      if (!is_new)
        fail<ValueError>("sentencepiece", "the added tokens '{}' and '{}' both have the id {}",
                         other->second.content, token.content, token.id);
      if (token.content.empty()) continue;
      pieces_.try_emplace(token.content, token.id);
      finder_.add(token.content, token);
      size_ = std::max(size_, token.id + 1);
    }
  }

  void encode(std::string_view text, std::vector<TokenId>& ids) const override {
    std::vector<int> part;
    for (const auto& section : finder_.sections(text)) {
      if (section.id >= 0) {
        ids.push_back(section.id);
        continue;
      }
      check(processor_.Encode(text.substr(section.begin, section.end - section.begin), &part));
      ids.insert(ids.end(), part.begin(), part.end());
    }
  }

  /// Control pieces (`</s>`) are special; the library leaves them out, here they are shown if not skipped.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    std::string out;
    std::vector<int> run;
    const auto flush = [&] {
      std::string text;
      if (!run.empty()) check(processor_.Decode(run, &text));
      out += text;
      run.clear();
    };
    for (const TokenId id : ids) {
      const bool known = id < processor_.GetPieceSize();
      const auto added = by_id_.find(id);
      const bool control = known && processor_.IsControl(id);
      if (added == by_id_.end() && !control) {
        if (known) run.push_back(id);
      } else if (!skip_special || (added != by_id_.end() && !added->second.special && !control)) {
        flush();
        out += added != by_id_.end() ? added->second.content : processor_.IdToPiece(id);
      }
    }
    flush();
    return out;
  }

  [[nodiscard]] bool may_change(TokenId last) const override {
    return last < processor_.GetPieceSize() && processor_.IsByte(last);
  }

  [[nodiscard]] TokenId size() const override { return size_; }
  [[nodiscard]] std::optional<std::string> token(TokenId id) const override {
    if (const auto added = by_id_.find(id); added != by_id_.end()) return added->second.content;
    if (id < 0 || id >= processor_.GetPieceSize()) return std::nullopt;
    return processor_.IdToPiece(id);
  }
  [[nodiscard]] std::optional<TokenId> id(std::string_view token) const override {
    const auto piece = pieces_.find(token);
    return piece == pieces_.end() ? std::nullopt : std::optional(piece->second);
  }
  [[nodiscard]] bool same(const TokenCodec& other) const override {
    const auto* theirs = dynamic_cast<const SentencePieceCodec*>(&other);
    return theirs && bytes_ == theirs->bytes_ && by_id_ == theirs->by_id_;
  }

  /// The model's own special ids.
  [[nodiscard]] SpecialIds special() const {
    const auto known = [](int id) { return id < 0 ? std::nullopt : std::optional<TokenId>(id); };
    SpecialIds ids{known(processor_.bos_id()),
                   known(processor_.eos_id()),
                   known(processor_.pad_id()),
                   known(processor_.unk_id()),
                   {}};
    if (ids.eos) ids.stop.push_back(*ids.eos);
    return ids;
  }

 private:
  std::string bytes_;
  std::vector<AddedToken> added_;
  sentencepiece::SentencePieceProcessor processor_;
  std::map<std::string, TokenId, std::less<>> pieces_;
  std::map<TokenId, AddedToken> by_id_;
  detail::AddedTokenFinder finder_;
  TokenId size_ = 0;

  static void check(const sentencepiece::util::Status& status) {
    if (!status.ok()) fail<ValueError>("sentencepiece", "{}", status.ToString());
  }
};

}  // namespace retort
