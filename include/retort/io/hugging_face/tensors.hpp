#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "retort/io/hugging_face/placement.hpp"
#include "retort/io/safetensors_file.hpp"
#include "retort/text/shallow_json.hpp"

namespace retort::hugging_face {

/// The tensors of a folder: of `model.safetensors`, or of the shards that `model.safetensors.index.json`
/// names. Opening reads headers alone.
class Tensors {
 public:
  /// A tensor and the file that has it.
  struct Place {
    const SafetensorsFile* file;
    std::string name;  ///< in the file, with prefix

    [[nodiscard]] std::span<const std::byte> bytes() const { return file->bytes(name); }
    [[nodiscard]] const std::string& dtype() const { return file->dtype(name); }
    [[nodiscard]] Shape shape() const { return file->shape(name); }
  };

  /// Throws FileError for a folder without weights, a shard that is missing, a tensor that is not in the
  /// shard that the index names or in two, and for damaged files.
  Tensors(std::filesystem::path folder, const FileLayout& layout) : folder_(std::move(folder)) {
    const auto index = folder_ / "model.safetensors.index.json";
    if (std::filesystem::exists(folder_ / "model.safetensors"))
      add(folder_ / "model.safetensors", layout);
    else if (std::filesystem::exists(index))
      add_shards(index, layout);
    else
      fail<FileError>(
          "hugging_face", "'{}' has neither model.safetensors nor model.safetensors.index.json{}",
          folder_.string(),
          std::filesystem::exists(folder_ / "pytorch_model.bin")
              ? "; pytorch_model.bin is not read, transformers' save_pretrained makes the former of it"
              : "");
  }

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

  /// By name without prefix.
  [[nodiscard]] const std::map<std::string, Place, std::less<>>& all() const { return places_; }
  /// nullptr if there is none.
  [[nodiscard]] const Place* find(std::string_view name) const {
    const auto at = places_.find(name);
    return at == places_.end() ? nullptr : &at->second;
  }
  /// Bytes of all tensors together.
  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& [name, place] : places_) sum += place.bytes().size();
    return sum;
  }

 private:
  std::filesystem::path folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place, std::less<>> places_;

  const SafetensorsFile& add(const std::filesystem::path& path, const FileLayout& layout) {
    files_.push_back(std::make_unique<SafetensorsFile>(path));
    for (const auto& name : files_.back()->names()) {
      std::string_view bare = name;
      for (const auto prefix : layout.prefixes)
        if (bare.starts_with(prefix)) {
          bare.remove_prefix(prefix.size());
          break;
        }
      if (!places_.try_emplace(std::string(bare), Place{files_.back().get(), name}).second)
        fail<FileError>("hugging_face",
                        "'{}': tensor {} is there twice, with and without its prefix or in two files",
                        path.string(), name);
    }
    return *files_.back();
  }

  void add_shards(const std::filesystem::path& index, const FileLayout& layout) {
    const MemoryMap map(index);
    const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
    std::map<std::string, std::vector<std::string>> shards;  // file -> tensors
    if (retort::detail::nested_too_deeply(text))
      fail<FileError>("hugging_face", "'{}' is nested too deeply", index.string());
    try {
      const auto map_of_weights =
          nlohmann::json::parse(text).at("weight_map").get<std::map<std::string, std::string>>();
      for (const auto& [tensor, file] : map_of_weights) shards[file].push_back(tensor);
    } catch (const nlohmann::json::exception& error) {
      fail<FileError>("hugging_face", "'{}' is no index of shards: {}", index.string(), error.what());
    }
    std::string missing;
    for (const auto& [file, tensors] : shards) {
      if (file.empty() || file.find('/') != std::string::npos || file == "..")
        fail<FileError>("hugging_face", "'{}' names the shard '{}', expected a file of its folder",
                        index.string(), file);
      if (!std::filesystem::exists(folder_ / file)) missing += (missing.empty() ? "" : ", ") + file;
    }
    if (!missing.empty())
      fail<FileError>("hugging_face", "'{}' names shards that are missing: {}", index.string(), missing);
    for (const auto& [file, tensors] : shards) {
      const SafetensorsFile& opened = add(folder_ / file, layout);
      for (const auto& tensor : tensors)
        if (!opened.contains(tensor))
          fail<FileError>("hugging_face", "'{}' says that tensor {} is in {}, but it is not", index.string(),
                          tensor, file);
    }
  }
};

}  // namespace retort::hugging_face
