#pragma once

#include <filesystem>
#include <vector>

#include "retort/text/tokenizer.hpp"

/// Tokenizers of folders, compiled by themselves: few files of a program need their many parts.
namespace support {

/// The tokenizer of a Hugging Face folder. FileError for what is missing or damaged.
[[nodiscard]] retort::Tokenizer load_tokens(const std::filesystem::path& folder);

/// Throws ValueError unless both give every text the same ids, naming the first id that differs. `who` is
/// what the message calls the two, "teacher and student" say.
void require_same_tokens(const retort::Tokenizer& a, const retort::Tokenizer& b, const char* who);

/// The tokens that end a response, one at least; the first is that of the data's responses. ValueError if the
/// tokenizer of `folder` names none.
[[nodiscard]] std::vector<retort::TokenId> ends_of(const retort::Tokenizer& tokenizer,
                                                   const std::filesystem::path& folder);

}  // namespace support
