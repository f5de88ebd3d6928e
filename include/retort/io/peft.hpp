#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "retort/io/hugging_face.hpp"
#include "retort/io/model_file.hpp"
#include "retort/models/lora.hpp"

/// LoRA adapters as the PEFT library stores them, beside a model of a Hugging Face folder:
/// `adapter_config.json` and `adapter_model.safetensors`.
namespace retort {

namespace detail {

/// A linear layer under its name in the model's Hugging Face file, and the rows of the model's layer that it
/// is: what PEFT calls a module.
struct PeftModule {
  std::string name;  ///< `model.layers.0.self_attn.q_proj`
  LoraSite site;
};

/// All of them, in the order of the family's table.
template <class Model>
[[nodiscard]] std::vector<PeftModule> peft_modules(Model& model) {
  using B = typename Model::Backend;
  std::set<const Parameter<B>*> of_linear, of_adapters;
  model.each_linear([&](nn::Linear<B>& linear) {
    of_linear.insert(&linear.weight);
    for (auto& adapter : linear.adapters) of_adapters.insert({&adapter.a, &adapter.b});
  });
  ParameterList<B> of_model;
  for (auto* p : parameters(model))
    if (!of_adapters.contains(p)) of_model.push_back(p);
  const auto layout = hugging_face::Format<typename Model::Family>::layout();
  std::vector<PeftModule> modules;
  for (const auto& place :
       hugging_face::placements<B>(layout, of_model, hugging_face::query_width(model.config()))) {
    if (!of_linear.contains(place.parameter)) continue;
    const auto stem = [](const std::string& name) { return name.substr(0, name.rfind('.')); };
    modules.push_back({stem(hugging_face::detail::full_name(layout, place.name)),
                       {stem(place.parameter->name), place.first_row, place.rows}});
  }
  return modules;
}

[[nodiscard]] inline std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

}  // namespace detail

/// Where PEFT would put adapters for these `target_modules`: layers by their names in the Hugging Face file
/// or the ends of them, `q_proj` or `attn.c_attn`. No target: all linear layers. ValueError for a target
/// without a layer, with the names that there are.
template <class Model>
[[nodiscard]] std::vector<LoraSite> peft_sites(Model& model, const std::vector<std::string>& targets) {
  const auto modules = detail::peft_modules(model);
  std::vector<LoraSite> sites;
  std::set<std::string> ends;
  for (const auto& module : modules) {
    ends.insert(detail::last_part(module.name));
    if (targets.empty() ||
        std::ranges::any_of(targets, [&](const auto& t) { return is_lora_target(module.name, t); }))
      sites.push_back(module.site);
  }
  for (const auto& target : targets)
    if (std::ranges::none_of(modules, [&](const auto& m) { return is_lora_target(m.name, target); }))
      fail<ValueError>("lora", "no layer is called '{}', expected some of {}", target, fmt::join(ends, ", "));
  return sites;
}
/// The same of the model that was chosen.
template <Backend B>
[[nodiscard]] std::vector<LoraSite> peft_sites(AnyModel<B>& model, const std::vector<std::string>& targets) {
  return model.visit([&](auto& typed) { return peft_sites(typed, targets); });
}

/// What a PEFT folder says besides its tensors.
struct PeftSaveOptions {
  std::string base_model{};  ///< folder or name of the model that the adapters belong to
};

/// Writes the adapters of a model as a folder that PEFT loads. Throws ValueError for adapters that PEFT's
/// layout cannot express: none at all, several ranks, rows that are no layer of the Hugging Face file.
template <class Model>
void save_peft(Model& model, const std::filesystem::path& folder, const PeftSaveOptions& options = {}) {
  using B = typename Model::Backend;
  const auto modules = detail::peft_modules(model);
  SafetensorsWriter writer;
  writer.metadata("format", "pt");
  LoraConfig config{.rank = 0};
  std::set<std::string> adapted;
  model.each_linear([&](nn::Linear<B>& linear) {
    for (const auto& adapter : linear.adapters) {
      const LoraSite site{linear.name(), adapter.first_row, adapter.rows()};
      const auto at = std::ranges::find(modules, site, &detail::PeftModule::site);
      if (at == modules.end())
        fail<ValueError>("save_peft", "rows [{}, {}) of {} are no layer of a {} file", site.first_row,
                         site.first_row + site.rows, site.layer, Model::Family::name);
      const Index rank = adapter.a.shape()[0];
      const LoraConfig own{rank, adapter.scale * static_cast<double>(rank), adapter.dropout};
      if (config.rank == 0) config = own;
      if (own.rank != config.rank || std::abs(own.alpha - config.alpha) > 1e-9 * std::abs(config.alpha) ||
          own.dropout != config.dropout)
        fail<ValueError>("save_peft", "adapters of several kinds: {} and {}", summary(config), summary(own));
      adapted.insert(at->name);
      for (const auto& [name, p] : {std::pair{".lora_A.weight", &adapter.a}, {".lora_B.weight", &adapter.b}})
        writer.add("base_model.model." + at->name + name, p->value);
    }
  });
  if (adapted.empty()) fail<ValueError>("save_peft", "the model has no adapters");

  // The ends of names, unless they would choose layers without an adapter as well.
  std::set<std::string> targets;
  for (const auto& name : adapted) {
    const std::string end = detail::last_part(name);
    const bool all = std::ranges::all_of(
        modules, [&](const auto& m) { return !is_lora_target(m.name, end) || adapted.contains(m.name); });
    targets.insert(all ? end : name);
  }
  constexpr bool two_stacks = requires {
    model.config().encoder_layers;
  };
  const auto layout = hugging_face::Format<typename Model::Family>::layout();
  const bool transposed = std::ranges::any_of(layout.rules, &hugging_face::Rule::transposed);
  const nlohmann::json json{{"peft_type", "LORA"},
                            {"task_type", two_stacks ? "SEQ_2_SEQ_LM" : "CAUSAL_LM"},
                            {"base_model_name_or_path", options.base_model},
                            {"r", config.rank},
                            {"lora_alpha", config.alpha},
                            {"lora_dropout", config.dropout},
                            {"target_modules", targets},
                            {"fan_in_fan_out", transposed},
                            {"bias", "none"},
                            {"init_lora_weights", true},
                            {"inference_mode", true}};
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  writer.write(folder / "adapter_model.safetensors");
  write_file(folder / "adapter_config.json", json.dump(2) + "\n");
}
/// The same of the model that was chosen.
template <Backend B>
void save_peft(AnyModel<B>& model, const std::filesystem::path& folder, const PeftSaveOptions& options = {}) {
  model.visit([&](auto& typed) { save_peft(typed, folder, options); });
}

namespace detail {

/// Throws FileError for a field of adapter_config.json that is set and not known to leave plain LoRA what it
/// is: PEFT's variants compute something else, and there will be more of them.
inline void refuse_peft_variants(const hugging_face::ConfigFile& file) {
  // Read by load_peft, or of the base model's name, of the choice of layers, which the tensors show, and of
  // training that is over.
  static const std::set<std::string> harmless{"peft_type",
                                              "bias",
                                              "r",
                                              "lora_alpha",
                                              "lora_dropout",
                                              "use_rslora",
                                              "task_type",
                                              "revision",
                                              "auto_mapping",
                                              "base_model_name_or_path",
                                              "peft_version",
                                              "inference_mode",
                                              "target_modules",
                                              "exclude_modules",
                                              "layers_to_transform",
                                              "layers_pattern",
                                              "fan_in_fan_out",
                                              "megatron_core",
                                              "qalora_group_size",
                                              "init_lora_weights"};
  for (const auto& [field, value] : file.json().items()) {
    const bool empty =
        value.is_null() || value == false || value == "" || (value.is_structured() && value.empty());
    if (!empty && !harmless.contains(field)) file.complain(field, value, "which is not supported");
  }
  // Other ways to begin change the base model's weights as well.
  if (const auto begin = file.json().find("init_lora_weights"); begin != file.json().end())
    if (!begin->is_null() && !begin->is_boolean() && *begin != "gaussian" && *begin != "orthogonal")
      file.complain("init_lora_weights", *begin, "supported: true, false, gaussian, orthogonal");
}

}  // namespace detail

/// Reads the adapters of a PEFT folder into a model and freezes everything else, see add_lora. Throws
/// FileError for a folder without them, for adapters of another kind than plain LoRA (the message names the
/// field), and for tensors that do not belong to the model; the model is then as it was.
template <class Model>
LoraConfig load_peft(Model& model, const std::filesystem::path& folder) {
  using B = typename Model::Backend;
  const hugging_face::ConfigFile file(folder / "adapter_config.json");
  (void)file.text({"peft_type"}, nullptr, {"LORA"});
  (void)file.text({"bias"}, "none", {"none"});
  detail::refuse_peft_variants(file);
  LoraConfig config{.rank = file.size({"r"}),
                    .alpha = file.number({"lora_alpha"}),
                    .dropout = file.number({"lora_dropout"}, 0.0)};
  if (file.flag({"use_rslora"}, false)) config.alpha *= std::sqrt(static_cast<double>(config.rank));

  const SafetensorsFile tensors(folder / "adapter_model.safetensors");
  const auto layout = hugging_face::Format<typename Model::Family>::layout();
  std::vector<detail::PeftModule> found;
  std::set<std::string> known;
  for (const auto& module : detail::peft_modules(model)) {
    known.insert(module.name + ".lora_A.weight");
    known.insert(module.name + ".lora_B.weight");
    if (tensors.contains("base_model.model." + module.name + ".lora_A.weight")) found.push_back(module);
  }
  constexpr std::string_view prefix = "base_model.model.";
  for (const auto& name : tensors.names())
    if (!name.starts_with(prefix) || !known.contains(name.substr(prefix.size())))
      fail<FileError>("load_peft", "'{}': {} is no adapter of a layer of a {} model", tensors.path().string(),
                      name, Model::Family::name);
  if (found.empty()) fail<FileError>("load_peft", "'{}' has no tensors", tensors.path().string());

  Model adapted = model;
  std::vector<LoraSite> sites;
  for (const auto& module : found) sites.push_back(module.site);
  try {
    add_lora(adapted, sites, config, RandomKey{});
  } catch (const ValueError& error) {
    fail<FileError>("load_peft", "'{}': {}", file.path().string(), error.what());
  }
  std::vector<TensorDestination> destinations;
  adapted.each_linear([&](nn::Linear<B>& linear) {
    for (auto& adapter : linear.adapters) {
      const LoraSite site{linear.name(), adapter.first_row, adapter.rows()};
      const auto at = std::ranges::find(found, site, &detail::PeftModule::site);
      if (at == found.end()) continue;  // one that the model had before
      const std::string name = std::string(prefix) + at->name;
      destinations.emplace_back(name + ".lora_A.weight", &adapter.a.value);
      destinations.emplace_back(name + ".lora_B.weight", &adapter.b.value);
    }
  });
  read_tensors(tensors, destinations);
  model = std::move(adapted);
  return config;
}
/// The same of the model that was chosen.
template <Backend B>
LoraConfig load_peft(AnyModel<B>& model, const std::filesystem::path& folder) {
  return model.visit([&](auto& typed) { return load_peft(typed, folder); });
}

}  // namespace retort
