#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "distill/data.hpp"
#include "distill/settings.hpp"
#include "retort/io/teacher_file.hpp"

/// The examples of a run: from JSONL or from a teacher's file.
namespace distill {

/// How lines become examples of models with so many positions (none of an encoder-decoder); the first of them
/// decides what a prompt is. Prompts leave room for a response of --max-tokens: ValueError if none can.
[[nodiscard]] DataOptions data_options(const Settings& settings, std::int32_t end_token, bool needs_response,
                                       std::initializer_list<std::optional<retort::Index>> positions);

/// Examples to train on and held-out ones.
struct Examples {
  retort::Batch train = {}, held_out = {};
  bool has_references = false;  ///< the held-out examples have responses
  std::string remarks = {};     ///< see Data
};

/// The examples of --data, or those of the teacher's file without it. Held out are those of --held-out,
/// without it the last ones; they are numbered apart, so that one teacher's file has both. Throws FileError
/// for data that cannot be read and for examples that a given file lacks or has with another text, ValueError
/// if none is left to train on.
[[nodiscard]] Examples read_examples(const Settings& settings, const retort::Tokenizer& tokenizer,
                                     const DataOptions& options, const retort::TeacherFile* file = nullptr);

/// The tokenizer's digest, as configurations and teachers' files have it.
[[nodiscard]] std::string digest_of(const retort::Tokenizer& tokenizer);

}  // namespace distill
