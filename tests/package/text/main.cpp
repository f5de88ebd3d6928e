#include <fmt/core.h>

#include <retort/text/load_tokenizer.hpp>
#include <string>

std::string decoded_elsewhere(const retort::Tokenizer& tokenizer, const std::vector<retort::TokenId>& ids);

/// Tokenizers of every kind that there are files for, there and back.
int main() {
  const std::string text = "The cat sat on the mat.";
  int wrong = 0;
  for (const char* name : {"gpt2", "llama3", "t5",
#ifdef RETORT_SENTENCEPIECE
                           "sentencepiece"
#endif
       }) {
    const auto tokenizer = retort::load_tokenizer(std::string(TOKENIZERS "/") + name);
    const auto ids = tokenizer.encode(text, false);
    const std::string back = decoded_elsewhere(tokenizer, ids);
    fmt::print("{}: {} tokens, '{}'\n", name, ids.size(), back);
    wrong += ids.empty() || back != text;
  }
  return wrong;
}
