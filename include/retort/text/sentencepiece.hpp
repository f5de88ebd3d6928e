#pragma once

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/added_tokens.hpp"
#include "retort/text/best_cut.hpp"
#include "retort/text/decoders.hpp"
#include "retort/text/sentencepiece_model.hpp"
#include "retort/text/tokenizer.hpp"

namespace retort {

/// A SentencePiece model (Kudo & Richardson 2018) of any kind, run by the SentencePiece library, with tokens
/// that are found in the text before it.
///
/// Of a unigram model the library normalizes the text, and retort cuts it: cuts that differ only in the order
/// of their tokens have equal scores, and which of them the library takes depends on its version. Here it is
/// that of 0.2.3, whose sums are float throughout. Debian's 0.1.97 compares a sum in double with one that was
/// rounded to float, so that the rounding of the text before decides.
class SentencePieceCodec final : public TokenCodec {
 public:
  /// `model` is the content of a .model file. An added token has an id of its own above the model's, or that
  /// of the piece with its name. Throws ValueError if the model is damaged or an id is taken.
  explicit SentencePieceCodec(std::string model, std::vector<AddedToken> added = {})
      : bytes_(std::move(model)), added_(std::move(added)) {
    if (const auto status = processor_.LoadFromSerializedProto(bytes_); !status.ok())
      fail<ValueError>("sentencepiece", "no SentencePiece model or a damaged one: {}", status.ToString());
    const auto model_fields = detail::SentencePieceModel::read(bytes_);
    if (!model_fields.normalizer)
      fail<ValueError>("sentencepiece", "the model is cut off: it has no normalizer");
    size_ = processor_.GetPieceSize();
    for (TokenId id = 0; id < size_; ++id) pieces_.try_emplace(processor_.IdToPiece(id), id);
    byte_fallback_ = model_fields.byte_fallback;
    if (model_fields.unigram) prepare_cut(model_fields.user_defined);
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
    for (const auto& section : finder_.sections(text)) {
      if (section.id >= 0) {
        ids.push_back(section.id);
        continue;
      }
      encode_section(text.substr(section.begin, section.end - section.begin), ids);
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
  std::optional<detail::BestCut<float>> cut_;  // of a unigram model
  bool byte_fallback_ = false;
  TokenId size_ = 0;

  /// A piece that its user has defined has a score that lets it win over others.
  void prepare_cut(const std::vector<bool>& user_defined) {
    cut_.emplace(processor_.unk_id());
    float lowest = std::numeric_limits<float>::max();
    for (TokenId id = 0; id < size_; ++id) {
      if (processor_.IsControl(id) || processor_.IsUnknown(id) || processor_.IsUnused(id) ||
          processor_.IsByte(id))
        continue;
      const std::string& piece = processor_.IdToPiece(id);
      if (user_defined[static_cast<std::size_t>(id)]) {
        cut_->add(piece, id, static_cast<float>(0.1 * (static_cast<double>(piece.size()) - 1)));
      } else {
        cut_->add(piece, id, processor_.GetScore(id));
        lowest = std::min(lowest, processor_.GetScore(id));
      }
    }
    cut_->set_unknown_score(lowest - 10);
  }

  void encode_section(std::string_view text, std::vector<TokenId>& ids) const {
    if (!cut_) {
      std::vector<int> part;
      check(processor_.Encode(text, &part));
      ids.insert(ids.end(), part.begin(), part.end());
      return;
    }
    std::vector<std::string> pieces;  // together they are the normalized text
    check(processor_.Encode(text, &pieces));
    std::string normal;
    for (const std::string& piece : pieces)
      if (const int byte = byte_fallback_ ? decoders::ByteFallback::byte_of(piece) : -1; byte >= 0)
        normal += static_cast<char>(byte);
      else
        normal += piece;
    for (const auto& part : (*cut_)(normal))
      if (part.id == processor_.unk_id() && byte_fallback_)
        for (std::size_t i = part.begin; i < part.end; ++i)
          ids.push_back(
              processor_.PieceToId(fmt::format("<0x{:02X}>", static_cast<unsigned char>(normal[i]))));
      else
        ids.push_back(part.id);
  }

  static void check(const sentencepiece::util::Status& status) {
    if (!status.ok()) fail<ValueError>("sentencepiece", "{}", status.ToString());
  }
};

}  // namespace retort
