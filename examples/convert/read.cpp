#include <algorithm>
#include <cstdlib>
#include <optional>

#include "convert/description.hpp"
#include "convert/model.hpp"
#include "retort/io/checkpoint.hpp"
#include "retort/io/hugging_face/folder.hpp"
#include "retort/models/lora.hpp"

namespace convert {

namespace {

using retort::AnyModel, retort::fail, retort::FileError, retort::SafetensorsFile;
namespace fs = std::filesystem;

/// F32, BF16 or F16 if all have it.
std::string common_dtype(const std::vector<std::string>& dtypes) {
  if (dtypes.empty() || std::ranges::adjacent_find(dtypes, std::not_equal_to{}) != dtypes.end()) return "F32";
  return dtypes[0] == "BF16" || dtypes[0] == "F16" ? dtypes[0] : "F32";
}

/// The model of a description, its weights yet to be read.
template <class... Models>
AnyModel<B> make(const fs::path& file, const nlohmann::json& json, const std::string& family,
                 std::type_identity<std::variant<Models...>>) {
  std::optional<AnyModel<B>> model;
  const auto attempt = [&]<class Model>(std::type_identity<Model>) {
    if (family != Model::Family::name) return;
    try {
      model.emplace(Model(Description(file, json).read<typename Model::Config>(), std::nullopt));
    } catch (const retort::ValueError& error) {
      fail<FileError>("convert", "'{}': {}", file.string(), error.what());
    }
  };
  (attempt(std::type_identity<Models>{}), ...);
  if (!model) {
    std::string names;
    for (const char* name : {Models::Family::name...})
      names += (names.empty() ? "" : ", ") + std::string(name);
    fail<FileError>("convert", "'{}': {}, expected one of {}", file.string(),
                    family.empty() ? "it does not name the model's family, give --family"
                                   : fmt::format("the family '{}' is unknown", family),
                    names);
  }
  return std::move(*model);
}

/// Puts adapters where a file has some, their weights yet to be read; their scale is that of the
/// description's `lora`. Returns whether there are any.
bool add_adapters(AnyModel<B>& model, const SafetensorsFile& tensors, const std::string& prefix,
                  const fs::path& file, const nlohmann::json& description) {
  constexpr std::string_view end = ".lora_b", rows = ".rows_";
  std::vector<retort::LoraSite> sites;
  std::vector<retort::Index> ranks;
  for (const std::string& name : tensors.names()) {
    const auto shape = tensors.shape(name);  // (rows, rank)
    if (!name.starts_with(prefix) || !name.ends_with(end) || shape.rank() != 2) continue;
    const std::string layer = name.substr(prefix.size(), name.size() - prefix.size() - end.size());
    sites.push_back({layer});
    if (const auto at = layer.rfind(rows); at != std::string::npos)
      sites.back() = {layer.substr(0, at), std::atoi(layer.c_str() + at + rows.size()), shape[0]};
    ranks.push_back(shape[1]);
  }
  if (sites.empty()) return false;
  if (!description.contains("lora"))
    fail<FileError>(
        "convert", "'{}' has LoRA adapters, but '{}' does not say how they are scaled: model.lora is missing",
        tensors.path().string(), file.string());
  const auto config = Description(file, description["lora"], "model.lora.").read<retort::LoraConfig>();
  for (const retort::Index rank : ranks)
    if (rank != config.rank)
      fail<FileError>("convert", "'{}' has LoRA adapters of rank {}, in '{}' model.lora.rank is {}",
                      tensors.path().string(), rank, file.string(), config.rank);
  try {
    retort::add_lora(model, sites, config, retort::RandomKey{});
  } catch (const retort::ValueError& error) {
    fail<FileError>("convert", "'{}': {}", tensors.path().string(), error.what());
  }
  return true;
}

/// Where a configuration describes the model: this program's, or a run's.
const nlohmann::json* description_in(const nlohmann::json& config) {
  for (const char* place : {"/model", "/config/setting/model"}) {
    const nlohmann::json::json_pointer pointer(place);
    if (config.contains(pointer)) return &config[pointer];
  }
  return nullptr;
}

fs::path weights_of(const fs::path& folder, const std::string& name) {
  if (!name.empty()) return folder / name;
  for (const char* usual : {"checkpoint.safetensors", "model.safetensors"})
    if (fs::exists(folder / usual)) return folder / usual;
  fail<FileError>("convert", "'{}' has neither checkpoint.safetensors nor model.safetensors",
                  folder.string());
}

}  // namespace

ModelFolder::ModelFolder() = default;
ModelFolder::ModelFolder(ModelFolder&&) noexcept = default;
ModelFolder::~ModelFolder() = default;

ModelFolder ModelFolder::read(const fs::path& path, const ReadOptions& options) {
  if (!fs::is_directory(path))
    fail<FileError>("convert", "'{}' {}", path.string(),
                    fs::exists(path) ? "is no folder" : "does not exist");
  const fs::path file = path / "config.json";
  if (!fs::exists(file)) fail<FileError>("convert", "'{}' has no config.json", path.string());
  const nlohmann::json config = retort::hugging_face::ConfigFile(file).json();

  ModelFolder out;
  std::vector<std::string> dtypes;
  if (config.contains("model_type")) {
    out.kind_ = Kind::hugging_face;
    out.hugging_face_ = config;
    out.model_ = std::make_unique<Model>(Model{retort::HuggingFaceFolder(path).load<B>()});
    const retort::hugging_face::Tensors tensors(path, {});
    for (const auto& [name, place] : tensors.all()) dtypes.push_back(place.dtype());
  } else {
    const nlohmann::json* description = description_in(config);
    if (description == nullptr)
      fail<FileError>("convert",
                      "'{}' is neither Hugging Face's (it has no model_type) nor retort's (it has no "
                      "model and no config.setting.model)",
                      file.string());
    const auto named = description->find("family");
    const std::string family = !options.family.empty()                             ? options.family
                               : named != description->end() && named->is_string() ? named->get<std::string>()
                                                                                   : "";
    const fs::path weights = weights_of(path, options.weights);
    const SafetensorsFile tensors(weights);
    out.model_ = std::make_unique<Model>(
        Model{make(file, *description, family, std::type_identity<AnyModel<B>::Choice>{})});
    const bool checkpoint = tensors.metadata().contains("optimizer");
    out.merged_ = add_adapters(out.model_->any, tensors, checkpoint ? "model/" : "", file, *description);
    const auto parameters = retort::parameters(out.model_->any);
    if (checkpoint)
      retort::load_checkpoint_weights<B>(weights, parameters);
    else
      retort::load_parameters<B>(weights, parameters);
    if (out.merged_) retort::merge_lora(out.model_->any);
    for (const auto& name : tensors.names())
      if (!name.starts_with("optimizer/")) dtypes.push_back(tensors.dtype(name));
    out.hugging_face_ = config.value("hugging_face", nlohmann::json::object());
  }
  out.dtype_ = common_dtype(dtypes);
  return out;
}

std::string ModelFolder::family() const {
  return model_->any.family();
}
retort::Index ModelFolder::weights() const {
  return retort::parameter_count(retort::parameters(model_->any));
}

}  // namespace convert
