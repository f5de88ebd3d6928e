#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/text/load_tokenizer.hpp"

/// The fixtures of tests/parity/tokenizers: tokenizers, and what the reference makes of texts with them.
namespace retort::test {

using nlohmann::json;
namespace fs = std::filesystem;

inline fs::path tokenizer_folder(const std::string& name) {
  return fs::path(RETORT_TESTS_DIR) / "parity" / "tokenizers" / name;
}

inline std::string file_contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail<FileError>("test", "cannot read '{}'", path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

inline json read_json(const fs::path& path) {
  return json::parse(file_contents(path));
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

/// An empty folder that goes away at the end of the test.
struct TextFolder {
  fs::path path = fs::temp_directory_path() / fmt::format("retort_text_{}", ::getpid());
  TextFolder() { fs::remove_all(path), fs::create_directory(path); }
  TextFolder(const TextFolder&) = delete;
  TextFolder& operator=(const TextFolder&) = delete;
  ~TextFolder() { fs::remove_all(path); }
  void write(const char* name, std::string_view bytes) const {
    std::ofstream out(path / name, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
};

/// The message of the error that `f` throws, `E` or one derived from it. Any other escapes.
template <class E = FileError, class F>
std::string message(F f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace retort::test
