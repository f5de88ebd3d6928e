#pragma once

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "folder.hpp"
#include "retort/text/load_tokenizer.hpp"

/// The fixtures of tests/parity/tokenizers: tokenizers, and what the reference makes of texts with them.
namespace retort::test {

using nlohmann::json;
namespace fs = std::filesystem;

inline fs::path tokenizer_folder(const std::string& name) {
  return fs::path(RETORT_TESTS_DIR) / "parity" / "tokenizers" / name;
}

inline json read_json(const fs::path& path) {
  return json::parse(contents(path));
}

/// The text of a case: as it stands, or bytes in hexadecimal where it is no UTF-8.
inline std::string text_of(const json& entry) {
  if (entry.contains("text")) return entry["text"];
  std::string bytes;
  const std::string digits = entry["bytes"];
  for (std::size_t i = 0; i < digits.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  return bytes;
}

/// The folder of real data, if there is one: RETORT_DATA, or shared/data beside the repository.
inline std::optional<fs::path> data_folder() {
  if (const char* given = std::getenv("RETORT_DATA")) return fs::path(given);
  const fs::path usual = fs::path(RETORT_TESTS_DIR) / ".." / ".." / "shared" / "data";
  return fs::is_directory(usual) ? std::optional(usual) : std::nullopt;
}

}  // namespace retort::test
