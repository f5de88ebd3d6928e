#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "retort/core/batch.hpp"
#include "retort/text/prompt.hpp"
#include "retort/text/tokenizer.hpp"
#include "support/json_line.hpp"
#include "support/special_tokens.hpp"

namespace distill {

/// How a line becomes an example.
struct DataOptions {
  std::string prompt_field, response_field;
  std::string format;  ///< with {prompt}
  int max_prompt, max_tokens;
  std::int32_t end_token;
  bool needs_response;  ///< else it may be absent
  bool decoder;         ///< prompts are continued, so nothing that ends a sequence goes behind them
};

/// Examples with what was left out.
struct Data {
  retort::Batch examples;
  bool has_responses = true;   ///< of all examples
  int too_long = 0;            ///< prompts over max_prompt, left out
  int empty = 0;               ///< prompts without a token, left out
  int cut = 0;                 ///< responses over max_tokens, cut there, without an end token
  int too_long_responses = 0;  ///< those of a teacher's file, which cannot be cut, left out

  /// ", 3 prompts over 256 tokens skipped ..." or nothing.
  [[nodiscard]] std::string remarks(const DataOptions& o) const {
    std::string text;
    if (too_long > 0) text += fmt::format("; {} prompts over {} tokens skipped", too_long, o.max_prompt);
    if (empty > 0) text += fmt::format("; {} empty prompts skipped", empty);
    if (too_long_responses > 0)
      text += fmt::format("; {} responses over {} tokens skipped", too_long_responses, o.max_tokens);
    if (cut > 0) text += fmt::format("; {} responses cut at {} tokens", cut, o.max_tokens);
    return text;
  }
};

namespace detail {

/// A field that is text, or nothing if it is absent and may be.
[[nodiscard]] inline std::optional<std::string> text_field(const nlohmann::json& line,
                                                           const std::string& field, bool required,
                                                           const std::string& where) {
  const auto at = line.find(field);
  if (at == line.end() && !required) return std::nullopt;
  if (at == line.end()) retort::fail<retort::FileError>("data", "{}: there is no field '{}'", where, field);
  if (!at->is_string())
    retort::fail<retort::FileError>("data", "{}: the field '{}' is no text but a {}", where, field,
                                    at->type_name());
  return at->get<std::string>();
}

}  // namespace detail

/// Reads examples, numbered by their lines from `first_id` on. Bytes that are not UTF-8 are read as U+FFFD.
/// FileError with the number of the line for one that is no JSON object or lacks a field, and for a file
/// without a usable example.
[[nodiscard]] inline Data read_data(const std::filesystem::path& path, const retort::Tokenizer& tokenizer,
                                    const DataOptions& options, std::uint64_t first_id = 0) {
  using retort::fail, retort::FileError;
  std::ifstream in(path, std::ios::binary);
  if (!in) fail<FileError>("data", "'{}' cannot be read", path.string());
  const retort::PromptFormat format(options.format);
  Data data;
  std::string line;
  int number = 0;
  while (std::getline(in, line)) {
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const std::string where = fmt::format("'{}', line {}", path.string(), number);
    const auto json = support::parse_json_line("data", where, retort::utf8::repaired(line));
    const auto prompt = detail::text_field(json, options.prompt_field, true, where);
    const auto response = detail::text_field(json, options.response_field, options.needs_response, where);
    auto tokens = tokenizer.encode(format.fill({{"prompt", *prompt}}), false);
    support::add_beginning(tokenizer, tokens);
    const auto& after = tokenizer.ends().after;
    if (!options.decoder) tokens.insert(tokens.end(), after.begin(), after.end());
    if (tokens.empty() || std::ssize(tokens) > options.max_prompt) {
      ++(tokens.empty() ? data.empty : data.too_long);
      continue;
    }
    std::vector<std::int32_t> answer;
    if (response) {
      answer = tokenizer.encode(*response, false);
      answer.push_back(options.end_token);
      if (std::ssize(answer) > options.max_tokens) {
        answer.resize(static_cast<std::size_t>(options.max_tokens));
        ++data.cut;
      }
    }
    data.has_responses = data.has_responses && response.has_value();
    data.examples.push_back(tokens, answer, first_id + static_cast<std::uint64_t>(number - 1));
  }
  if (data.examples.empty())
    fail<FileError>("data", "'{}' has no usable example in {} lines{}", path.string(), number,
                    data.remarks(options));
  return data;
}

}  // namespace distill
