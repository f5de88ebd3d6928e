#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "retort/io/hugging_face/folder.hpp"
#include "retort/io/safetensors_writer.hpp"

namespace retort {

/// How a Hugging Face folder is written.
struct HuggingFaceSaveOptions {
  std::string dtype = "F32";  ///< of all tensors: F64, F32, BF16 or F16; elements are rounded to the nearest
  std::int64_t shard_bytes = 5'000'000'000;  ///< tensors beyond this go to a further file
  /// Fields of config.json that the model does not know, such as token ids: a HuggingFaceFolder's `config()`.
  /// What the model knows replaces them.
  nlohmann::json extra = nlohmann::json::object();
};

namespace hugging_face::detail {

/// Adds the rows of a placement to a file, in the file's orientation.
template <Backend B>
void add_to(SafetensorsWriter& writer, const std::string& name, const Placement<B>& p,
            const std::string& dtype) {
  using T = typename B::Scalar;
  const T* from = p.data();
  const Shape shape = p.file_shape();
  const Index outputs = p.rows, stride = p.transposed ? p.parameter->shape()[1] : 0;
  writer.add_as<T>(dtype, name, shape, [=, transposed = p.transposed](Index first, std::span<T> to) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      const Index at = first + static_cast<Index>(i);
      to[i] = transposed ? from[at % outputs * stride + at / outputs] : from[at];
    }
  });
}

/// The name as transformers writes it.
inline std::string full_name(const FileLayout& layout, const std::string& name) {
  const bool bare = std::ranges::any_of(layout.bare, [&](auto begin) { return name.starts_with(begin); });
  return (bare || layout.prefixes.empty() ? "" : std::string(layout.prefixes[0])) + name;
}

/// Fields that older configurations spell otherwise, or that would contradict what is written.
inline void drop_other_spellings(Json& config) {
  for (const char* name :
       {"torch_dtype", "rope_parameters", "rope_scaling", "rope_theta", "is_gated_act", "dense_act_fn",
        "scale_decoder_outputs", "quantization_config", "transformers_version"})
    config.erase(name);
}

}  // namespace hugging_face::detail

/// Writes a model as a folder that transformers reads: config.json, and model.safetensors or shards with an
/// index. The folder is made if it is not there; each file is replaced whole or not at all. Throws ValueError
/// for a model that the family's format cannot express, FileError if a file cannot be written.
template <class Model>
void save_hugging_face(Model& model, const std::filesystem::path& folder,
                       const HuggingFaceSaveOptions& options = {}) {
  using B = typename Model::Backend;
  using Format = hugging_face::Format<typename Model::Family>;
  const std::size_t element = dtype_bytes(options.dtype);
  if (!can_write(options.dtype))
    fail<ValueError>("save_hugging_face", "dtype '{}' is not written, expected F64, F32, BF16 or F16",
                     options.dtype);
  nlohmann::json config = options.extra;
  hugging_face::detail::drop_other_spellings(config);
  config.update(Format::write(model.config()));
  config["model_type"] = Format::model_type;
  config["architectures"] = {Format::architecture};
  config["dtype"] = options.dtype == "F64"    ? "float64"
                    : options.dtype == "F32"  ? "float32"
                    : options.dtype == "BF16" ? "bfloat16"
                                              : "float16";
  const hugging_face::FileLayout layout = Format::layout();
  const auto placements = hugging_face::placements<B>(layout, parameters(model),
                                                      hugging_face::detail::query_width(model.config()));
  // Cut into shards: as many tensors as fit, at least one.
  std::vector<std::vector<const hugging_face::Placement<B>*>> shards(1);
  std::size_t total = 0, in_shard = 0;
  for (const auto& p : placements) {
    const std::size_t bytes = static_cast<std::size_t>(p.file_shape().size()) * element;
    if (in_shard > 0 && in_shard + bytes > static_cast<std::size_t>(options.shard_bytes)) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(&p);
    in_shard += bytes, total += bytes;
  }
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  nlohmann::json index{{"metadata", {{"total_size", total}}}, {"weight_map", nlohmann::json::object()}};
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string file = shards.size() == 1
                                 ? "model.safetensors"
                                 : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    SafetensorsWriter writer;
    writer.metadata("format", "pt");
    for (const auto* p : shards[s]) {
      const std::string name = hugging_face::detail::full_name(layout, p->name);
      hugging_face::detail::add_to(writer, name, *p, options.dtype);
      index["weight_map"][name] = file;
    }
    writer.write(folder / file);
  }
  // What an earlier model left would be read instead, or with it.
  if (shards.size() > 1) {
    write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
    std::filesystem::remove(folder / "model.safetensors", ignored);
  } else {
    std::filesystem::remove(folder / "model.safetensors.index.json", ignored);
  }
  write_file(folder / "config.json", config.dump(2) + "\n");
}
template <Backend B>
void save_hugging_face(AnyModel<B>& model, const std::filesystem::path& folder,
                       const HuggingFaceSaveOptions& options = {}) {
  model.visit([&](auto& typed) { save_hugging_face(typed, folder, options); });
}

}  // namespace retort
