#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "retort/io/hugging_face/folder.hpp"
#include "retort/io/safetensors_writer.hpp"
#include "retort/models/lora.hpp"

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
  const Shape shape = p.file_shape();
  const Index outputs = p.rows, stride = p.transposed ? p.parameter->shape()[1] : 0;
  // On a device: the parameter's copy on the host, from the tensor's first element to its last.
  const auto copy = std::make_shared<std::vector<T>>();
  const auto fill = [=, count = shape.size(), value = p.parameter->value, begin = p.first(),
                     transposed = p.transposed](Index first, std::span<T> to) {
    const T* from = nullptr;
    if constexpr (std::same_as<typename B::Device, CpuDevice>) {
      from = value.data() + begin;
    } else {
      if (first == 0) *copy = value.to_host();
      from = copy->data() + begin;
    }
    for (std::size_t i = 0; i < to.size(); ++i) {
      const Index at = first + static_cast<Index>(i);
      to[i] = transposed ? from[at % outputs * stride + at / outputs] : from[at];
    }
    if (first + std::ssize(to) == count) std::vector<T>().swap(*copy);
  };
  writer.add_as<T>(dtype, name, shape, fill);
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

/// Writes config.json and the tensors; `config` has what the family's format says.
template <Backend B>
void write_folder(const std::filesystem::path& folder, Json config, const FileLayout& layout,
                  const std::vector<Placement<B>>& placements, const HuggingFaceSaveOptions& options) {
  if (!can_write(options.dtype))
    fail<ValueError>("save_hugging_face", "dtype '{}' is not written, expected F64, F32, BF16 or F16",
                     options.dtype);
  Json all = options.extra;
  drop_other_spellings(all);
  all.update(config);
  all["dtype"] = options.dtype == "F64"    ? "float64"
                 : options.dtype == "F32"  ? "float32"
                 : options.dtype == "BF16" ? "bfloat16"
                                           : "float16";
  // Cut into shards: as many tensors as fit, at least one.
  std::vector<std::vector<const Placement<B>*>> shards(1);
  std::int64_t total = 0, in_shard = 0;
  for (const auto& p : placements) {
    const auto bytes = p.file_shape().size() * static_cast<std::int64_t>(dtype_bytes(options.dtype));
    if (in_shard > 0 && in_shard + bytes > options.shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(&p);
    in_shard += bytes, total += bytes;
  }
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  Json index{{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string file = shards.size() == 1
                                 ? "model.safetensors"
                                 : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    SafetensorsWriter writer;
    writer.metadata("format", "pt");
    for (const auto* p : shards[s]) {
      const std::string name = full_name(layout, p->name);
      add_to(writer, name, *p, options.dtype);
      index["weight_map"][name] = file;
    }
    writer.write(folder / file);
  }
  // What an earlier model left would be read instead.
  if (shards.size() > 1) {
    write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
    std::filesystem::remove(folder / "model.safetensors", ignored);
  } else {
    std::filesystem::remove(folder / "model.safetensors.index.json", ignored);
  }
  write_file(folder / "config.json", all.dump(2) + "\n");
}

}  // namespace hugging_face::detail

/// Writes a model as a folder that transformers reads: config.json, and model.safetensors or shards with an
/// index. The folder is made if it is not there; each file is replaced whole or not at all. Throws ValueError
/// for a model that the family's format cannot express, such as one with adapters, FileError if a file cannot
/// be written.
template <class Model>
void save_hugging_face(Model& model, const std::filesystem::path& folder,
                       const HuggingFaceSaveOptions& options = {}) {
  if (has_lora(model))
    fail<ValueError>("save_hugging_face",
                     "the model has LoRA adapters: merge them before (merge_lora), or write them by "
                     "themselves (save_peft)");
  using Format = hugging_face::Format<typename Model::Family>;
  nlohmann::json config = Format::write(model.config());
  config["model_type"] = Format::model_type;
  config["architectures"] = {Format::architecture};
  const auto layout = Format::layout();
  hugging_face::detail::write_folder<typename Model::Backend>(
      folder, std::move(config), layout,
      hugging_face::placements(layout, parameters(model), hugging_face::query_width(model.config())),
      options);
}
template <Backend B>
void save_hugging_face(AnyModel<B>& model, const std::filesystem::path& folder,
                       const HuggingFaceSaveOptions& options = {}) {
  model.visit([&](auto& typed) { save_hugging_face(typed, folder, options); });
}

}  // namespace retort
