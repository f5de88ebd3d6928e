#pragma once

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "generate/settings.hpp"
#include "retort/core/error.hpp"
#include "retort/text/prompt.hpp"
#include "retort/text/tokenizer.hpp"
#include "support/json_line.hpp"
#include "support/special_tokens.hpp"

/// From the command line or a file to the tokens that a model reads.
namespace generator {

struct Prompt {
  nlohmann::json id;  ///< text or whole number
  std::string text;   ///< valid UTF-8

  /// How messages call it.
  [[nodiscard]] std::string name() const { return "prompt " + retort::detail::shown(id); }
};

/// The whole of a file. Throws FileError if it cannot be read.
[[nodiscard]] inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad() || text.bad())
    retort::fail<retort::FileError>("prompts", "'{}' cannot be read", path);
  return text.str();
}

namespace detail {

/// A line of a JSONL file.
[[nodiscard]] inline Prompt parse_line(const std::string& path, Index number, const std::string& line) {
  const std::string where = fmt::format("'{}', line {}", path, number);
  const auto complain = [&](const std::string& why) {
    retort::fail<retort::FileError>("prompts", "{}: {}", where, why);
  };
  const auto json = support::parse_json_line("prompts", where, line);
  const auto prompt = json.find("prompt"), id = json.find("id");
  if (prompt == json.end()) complain("the field prompt is missing");
  if (!prompt->is_string())
    complain(fmt::format("the field prompt is {}, expected a text", retort::detail::shown(*prompt)));
  if (id != json.end() && !id->is_string() && !id->is_number_integer())
    complain(
        fmt::format("the field id is {}, expected a text or a whole number", retort::detail::shown(*id)));
  return {id != json.end() ? *id : nlohmann::json(number), prompt->get<std::string>()};
}

}  // namespace detail

/// The prompts of a file, in its order: of a name that ends in .jsonl an object a line with `prompt` and
/// perhaps `id`, else the lines themselves. Empty lines are left out; what has no id has its line's number.
/// Throws FileError that names the line.
[[nodiscard]] inline std::vector<Prompt> read_prompts(const std::string& path) {
  const std::string text = retort::utf8::repaired(read_text(path));
  std::vector<Prompt> prompts;
  std::map<std::string, Index> lines;  // of ids
  std::istringstream in(text);
  std::string line;
  for (Index number = 1; std::getline(in, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    prompts.push_back(path.ends_with(".jsonl") ? detail::parse_line(path, number, line)
                                               : Prompt{number, line});
    const auto [other, is_new] = lines.try_emplace(prompts.back().id.dump(), number);
    if (!is_new)
      retort::fail<retort::FileError>("prompts", "'{}', line {}: the id {} is that of line {} too", path,
                                      number, retort::detail::shown(prompts.back().id), other->second);
  }
  if (prompts.empty()) retort::fail<retort::FileError>("prompts", "'{}' holds no prompt", path);
  return prompts;
}

/// What the command line asks for; `--prompt` has the id 1.
[[nodiscard]] inline std::vector<Prompt> prompts_of(const Settings& s) {
  return s.prompts ? read_prompts(*s.prompts) : std::vector{Prompt{1, retort::utf8::repaired(*s.prompt)}};
}

/// The template of the command line, `{prompt}` if there is none. Throws ValueError for one that has no
/// {prompt} or other fields.
[[nodiscard]] inline retort::PromptFormat format_of(const Settings& s) {
  std::string text = s.template_file ? read_text(*s.template_file) : s.format.value_or("{prompt}");
  if (s.format) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : ' ';
      const char meant = next == 'n' ? '\n' : next == 't' ? '\t' : next == '\\' ? '\\' : '\0';
      plain += meant ? (++i, meant) : text[i];
    }
    text = plain;
  }
  retort::PromptFormat format(text);
  if (!format.has("prompt"))
    retort::fail<retort::ValueError>("prompt", "the template has no {{prompt}}: '{}'", text.substr(0, 60));
  (void)format.fill({{"prompt", ""}});  // other fields are refused before a model is loaded
  return format;
}

/// The tokens of a prompt. Special tokens that stand in the text are such. What the tokenizer puts before a
/// sequence is not repeated if a template begins with it. A decoder has to begin with something: an empty
/// prompt is the bos token, or else the eos token. Throws ValueError if there is neither.
[[nodiscard]] inline std::vector<retort::TokenId> encode(const retort::Tokenizer& tokenizer,
                                                         const retort::PromptFormat& format,
                                                         const Prompt& prompt, bool add_special,
                                                         bool may_be_empty) {
  std::vector<retort::TokenId> ids = tokenizer.encode(format.fill({{"prompt", prompt.text}}), false);
  if (add_special) {
    support::add_beginning(tokenizer, ids);
    const auto& after = tokenizer.ends().after;
    ids.insert(ids.end(), after.begin(), after.end());
  }
  if (!ids.empty() || may_be_empty) return ids;
  const auto start = tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
  if (!start)
    retort::fail<retort::ValueError>(
        "prompt", "{} is empty, and the tokenizer has no bos or eos token to begin with", prompt.name());
  return {*start};
}

}  // namespace generator
