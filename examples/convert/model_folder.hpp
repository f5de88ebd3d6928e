#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "retort/core/scalar.hpp"

/// Models in folders of two kinds, read and written.
///
///   hugging_face   config.json with model_type; model.safetensors or shards
///   retort         config.json and the parameters under their own names: a folder that this program wrote
///                  ({"model": {"family": "llama", ...}}, model.safetensors), or that of a run whose setting
///                  describes the model ({"config": {"setting": {"model": ...}}}, checkpoint.safetensors)
namespace convert {

enum class Kind { hugging_face, retort };

/// A model that was read, with what its folder says besides.
class ModelFolder {
 public:
  /// How a folder is read.
  struct ReadOptions {
    std::string family{};  ///< where a retort folder does not say it
    std::string
        weights{};  ///< the file of a retort folder; empty: checkpoint.safetensors or model.safetensors
  };

  /// Throws FileError that names file, field or tensors for what is missing, damaged or does not fit.
  static ModelFolder read(const std::filesystem::path& path, const ReadOptions& options);

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] std::string family() const;
  [[nodiscard]] retort::Index weights() const;
  /// Whether there were LoRA adapters: they have been merged.
  [[nodiscard]] bool merged() const { return merged_; }
  /// F32, BF16 or F16 if all tensors have it, else F32.
  [[nodiscard]] const std::string& dtype() const { return dtype_; }

  /// Writes config.json and the weights. Throws ValueError for a model that Hugging Face's format cannot
  /// express, FileError for a file that cannot be written.
  void write(const std::filesystem::path& path, Kind kind, const std::string& dtype);

  ModelFolder(ModelFolder&&) noexcept;
  ~ModelFolder();

 private:
  struct Model;
  ModelFolder();

  std::unique_ptr<Model> model_;
  Kind kind_ = Kind::retort;
  bool merged_ = false;
  std::string dtype_;
  nlohmann::json hugging_face_ = nlohmann::json::object();  // config.json, as far as it is known
};

}  // namespace convert
