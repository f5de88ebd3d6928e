#pragma once

#include <filesystem>
#include <string>

#include "retort/io/hugging_face/config_file.hpp"

namespace generator {

/// The fields of a folder's generation_config.json that would change what transformers generates greedily,
/// and that this program does not apply: "repetition_penalty, min_length", or nothing. Throws FileError for a
/// damaged file.
[[nodiscard]] inline std::string fields_not_applied(const std::filesystem::path& folder) {
  const auto path = folder / "generation_config.json";
  if (!std::filesystem::exists(path)) return {};
  const retort::hugging_face::ConfigFile file(path);
  std::string names;
  for (const char* name :
       {"bad_words_ids", "begin_suppress_tokens", "encoder_no_repeat_ngram_size",
        "encoder_repetition_penalty", "exponential_decay_length_penalty", "forced_bos_token_id",
        "forced_decoder_ids", "forced_eos_token_id", "guidance_scale", "min_length", "min_new_tokens",
        "no_repeat_ngram_size", "repetition_penalty", "sequence_bias", "suppress_tokens"}) {
    const auto at = file.json().find(name);
    if (at == file.json().end() || at->is_null() || (at->is_structured() && at->empty())) continue;
    const std::string_view field = name;
    const bool factor = field.ends_with("repetition_penalty") || field == "guidance_scale";
    const bool id = field.starts_with("forced_");
    if (at->is_number() && !id && at->get<double>() == (factor ? 1 : 0)) continue;  // does nothing
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names;
}

}  // namespace generator
