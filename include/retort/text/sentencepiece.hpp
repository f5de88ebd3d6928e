#pragma once

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

namespace detail {

/// Whether the bytes of a SentencePiece model, a protocol buffer, have a normalizer_spec (field 3). It stands
/// behind the pieces: of a file that is cut off between two pieces the library would make a model of the
/// first ones.
[[nodiscard]] inline bool has_normalizer(std::string_view model) {
  std::size_t at = 0;
  const auto number = [&] {  // a varint
    std::uint64_t value = 0;
    for (int shift = 0; at < model.size() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(model[at++]);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < model.size()) {
    const std::uint64_t key = number();
    if ((key & 7) != 2) return false;  // all of a model's fields have a length
    if (key >> 3 == 3) return true;
    const std::uint64_t size = number();
    if (size > model.size() - at) return false;
    at += size;
  }
  return false;
}

}  // namespace detail

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
    if (!detail::has_normalizer(bytes_))
      fail<ValueError>("sentencepiece", "the model is cut off: it has no normalizer");
    size_ = processor_.GetPieceSize();
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
