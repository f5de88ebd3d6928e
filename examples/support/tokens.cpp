#include "support/tokens.hpp"

#include "retort/text/load_tokenizer.hpp"

namespace support {

using retort::fail, retort::ValueError;

retort::Tokenizer load_tokens(const std::filesystem::path& folder) {
  return retort::load_tokenizer(folder);
}

void require_same_tokens(const retort::Tokenizer& a, const retort::Tokenizer& b, const char* who) {
  if (retort::same_tokens(a, b)) return;
  const auto text = [](const std::optional<std::string>& token) {
    return token ? "'" + *token + "'" : std::string("no token");
  };
  for (retort::TokenId id = 0; id < std::max(a.vocabulary(), b.vocabulary()); ++id)
    if (const auto x = a.token(id), y = b.token(id); x != y)
      fail<ValueError>("tokenizer", "{} have other tokens: id {} is {} and {}", who, id, text(x), text(y));
  fail<ValueError>(
      "tokenizer",
      "{} have the same tokens, but other rules (merges, scores or how text is cut): they give a "
      "text other ids",
      who);
}

std::vector<retort::TokenId> ends_of(const retort::Tokenizer& tokenizer,
                                     const std::filesystem::path& folder) {
  if (tokenizer.stop().empty())
    fail<ValueError>("tokenizer", "'{}' names no token that ends a sequence (eos_token)", folder.string());
  return tokenizer.stop();
}

}  // namespace support
