#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "retort/text/tokenizer.hpp"

namespace support {

/// Puts the tokens in front of a prompt that its tokenizer has there, unless it begins with them already: a
/// template may have them.
inline void add_beginning(const retort::Tokenizer& tokenizer, std::vector<retort::TokenId>& prompt) {
  const auto& before = tokenizer.ends().before;
  if (!std::ranges::equal(before, std::span(prompt).first(std::min(prompt.size(), before.size()))))
    prompt.insert(prompt.begin(), before.begin(), before.end());
}

}  // namespace support
