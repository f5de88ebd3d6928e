#include "distill/tokens.hpp"

#include "retort/text/load_tokenizer.hpp"

namespace distill {

using retort::fail, retort::ValueError;

retort::Tokenizer load_tokens(const std::filesystem::path& folder) {
  return retort::load_tokenizer(folder);
}

void require_same_tokens(const retort::Tokenizer& teacher, const retort::Tokenizer& student) {
  if (retort::same_tokens(teacher, student)) return;
  const auto text = [](const std::optional<std::string>& token) {
    return token ? "'" + *token + "'" : std::string("no token");
  };
  for (retort::TokenId id = 0; id < std::max(teacher.vocabulary(), student.vocabulary()); ++id)
    if (const auto a = teacher.token(id), b = student.token(id); a != b)
      fail<ValueError>("tokenizer", "teacher and student have other tokens: id {} is {} and {}", id, text(a),
                       text(b));
  fail<ValueError>("tokenizer",
                   "teacher and student have the same tokens, but other rules (merges, scores or how text is "
                   "cut): they give a text other ids");
}

std::vector<retort::TokenId> ends_of(const retort::Tokenizer& tokenizer,
                                     const std::filesystem::path& folder) {
  if (tokenizer.stop().empty())
    fail<ValueError>("tokenizer", "'{}' names no token that ends a sequence (eos_token)", folder.string());
  return tokenizer.stop();
}

}  // namespace distill
