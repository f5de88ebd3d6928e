#include <retort/text/load_tokenizer.hpp>

std::string decoded_elsewhere(const retort::Tokenizer& tokenizer, const std::vector<retort::TokenId>& ids) {
  return tokenizer.decode(ids);
}
