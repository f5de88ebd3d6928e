#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "retort/text/token_stream.hpp"

namespace generator {

namespace detail {

/// Takes up to `bytes` from the beginning of a text, and the rest of a character that this would cut: a
/// prompt may end within one. What is left to take is left in `bytes`.
inline std::string without_beginning(std::string text, std::size_t& bytes) {
  std::size_t cut = std::min(bytes, text.size());
  bytes -= cut;
  while (cut > 0 && cut < text.size() && (text[cut] & 0xC0) == 0x80) ++cut;
  return text.substr(cut);
}

}  // namespace detail

/// The text of a response: what follows the text of `before`, a decoder's prompt or nothing, when both are
/// decoded together, so that a space between them is kept. Special tokens are left out.
[[nodiscard]] inline std::string text_of(const retort::Tokenizer& tokenizer,
                                         std::vector<retort::TokenId> before,
                                         const std::vector<retort::TokenId>& response) {
  std::size_t own = tokenizer.decode(before).size();
  before.insert(before.end(), response.begin(), response.end());
  return detail::without_beginning(tokenizer.decode(before), own);
}

/// The same of tokens that come one by one.
class ResponseText {
 public:
  ResponseText(const retort::Tokenizer& tokenizer, const std::vector<retort::TokenId>& before)
      : stream_(tokenizer), skip_(tokenizer.decode(before).size()) {
    for (const retort::TokenId id : before) (void)push(id);
  }

  /// What the token adds; empty while a character lacks bytes.
  [[nodiscard]] std::string push(retort::TokenId id) {
    return detail::without_beginning(stream_.push(id), skip_);
  }
  /// What is left at the end.
  [[nodiscard]] std::string finish() { return detail::without_beginning(stream_.finish(), skip_); }

 private:
  retort::TokenStream stream_;
  std::size_t skip_;  // bytes to come that are those of the prompt
};

}  // namespace generator
