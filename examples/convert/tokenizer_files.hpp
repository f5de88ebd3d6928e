#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "retort/io/atomic_file.hpp"
#include "retort/io/memory_map.hpp"

/// The files beside a model that say how text becomes tokens.
namespace convert {

/// Whether a file belongs to a tokenizer, or to how text is generated.
[[nodiscard]] inline bool is_tokenizer_file(const std::filesystem::path& file) {
  constexpr const char* names[] = {
      "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
      "merges.txt",     "added_tokens.json",     "generation_config.json",  "chat_template.jinja"};
  return file.extension() == ".model" || std::ranges::count(names, file.filename()) > 0;
}

/// Copies them as they are, and returns their names in alphabetic order. Throws FileError for one that cannot
/// be read or written.
inline std::vector<std::string> copy_tokenizer_files(const std::filesystem::path& from,
                                                     const std::filesystem::path& to) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(from))
    if (entry.is_regular_file() && is_tokenizer_file(entry.path())) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  for (const std::string& name : names) {
    const retort::MemoryMap map(from / name);
    retort::write_file(to / name, {reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size()});
  }
  return names;
}

}  // namespace convert
