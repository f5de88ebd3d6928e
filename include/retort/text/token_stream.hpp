#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/tokenizer.hpp"

namespace retort {

/// Text of tokens that come one by one: emits characters as soon as they are complete, and all pieces
/// together are what `decode` gives of all ids.
class TokenStream {
 public:
  explicit TokenStream(Tokenizer tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  /// What the token adds to the text; empty while a character lacks bytes.
  [[nodiscard]] std::string push(TokenId id) {
    ids_.push_back(id);
    if (tokenizer_.codec().may_change(id))
      open_ = true;
    else if (open_ && !tokenizer_.decode({&id, 1}, skip_special_).empty())  // a skipped token leaves it open
      open_ = false;
    if (open_) return {};
    const std::string text = tokenizer_.decode(ids_, skip_special_);
    if (text.size() <= shown_ || text.ends_with(utf8::replacement_bytes)) return {};
    std::string added = text.substr(shown_);
    // Of the tokens only those shown last are kept: how the next begins may depend on them, not on older
    // ones.
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(settled_));
    settled_ = ids_.size();
    shown_ = tokenizer_.decode(ids_, skip_special_).size();
    return added;
  }

  /// What is left at the end: U+FFFD for bytes that made no character.
  [[nodiscard]] std::string finish() {
    std::string text = tokenizer_.decode(ids_, skip_special_);
    std::string rest = text.size() > shown_ ? text.substr(shown_) : std::string();
    ids_.clear();
    settled_ = shown_ = 0;
    open_ = false;
    return rest;
  }

 private:
  Tokenizer tokenizer_;
  bool skip_special_ = true;
  bool open_ = false;         // the last token with a text is a byte: what follows may complete it
  std::vector<TokenId> ids_;  // tokens whose text may still matter
  std::size_t settled_ = 0;   // of them, those whose text was emitted
  std::size_t shown_ = 0;     // bytes of the text of ids_ that were emitted
};

}  // namespace retort
