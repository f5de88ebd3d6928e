#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "retort/io/model_file.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/optim/optimizer.hpp"

/// A training run between two steps as one safetensors file: weights (`model/<parameter>`), the optimizer's
/// state (`optimizer/<parameter>.first_moment`), its counts, the run's configuration, and what else the run
/// needs to go on (step, seed, place in the data), as JSON. Random numbers have no state: they are counted
/// from seed and step. Written whole or not at all, with a checksum.
namespace retort {

/// A checkpoint that is whole, but of a run of another configuration.
struct OtherRunError : FileError {
  using FileError::FileError;
};

namespace detail {

inline constexpr const char* checkpoint_format = "retort.checkpoint 1";

template <Backend B>
std::vector<TensorDestination> checkpoint_weights(const ParameterList<B>& parameters) {
  std::vector<TensorDestination> tensors;
  for (auto* p : parameters) tensors.emplace_back("model/" + p->name, &p->value);
  return tensors;
}

[[noreturn]] inline void no_checkpoint(const SafetensorsFile& file, const std::string& reason) {
  fail<FileError>("checkpoint", "'{}' is not a checkpoint: {}", file.path().string(), reason);
}

/// A metadata string, which must be a JSON object unless `any`.
[[nodiscard]] inline nlohmann::json metadata_json(const SafetensorsFile& file, const char* key,
                                                  bool any = false) {
  const auto text = file.metadata().find(key);
  if (text == file.metadata().end()) no_checkpoint(file, fmt::format("it has no metadata called {}", key));
  auto json = nlohmann::json::parse(text->second, nullptr, false);
  if (json.is_discarded() || !(any || json.is_object()))
    no_checkpoint(file, fmt::format("its metadata called {} is not what it should be", key));
  return json;
}

/// What `Optimizer::restore_counts` wants.
struct OptimizerCounts {
  Index steps;
  std::vector<Index> updates;
};

template <class Policy, Backend B>
OptimizerCounts read_counts(const SafetensorsFile& file, const Optimizer<Policy, B>& optimizer) {
  const auto json = metadata_json(file, "optimizer");
  const auto number = [&](const nlohmann::json& from, const std::string& key) {
    if (!from.is_object() || !from.contains(key) || !from[key].is_number_integer())
      no_checkpoint(file, "it does not count the optimizer's " + key);
    return from[key].get<Index>();
  };
  if (!json.contains("name") || json["name"] != Policy::name)
    fail<FileError>("checkpoint", "'{}' belongs to a run with another optimizer: {} there, {} here",
                    file.path().string(), json.contains("name") ? json["name"].dump() : "none", Policy::name);
  OptimizerCounts counts{number(json, "steps"), {}};
  const auto updates = json.contains("updates") ? json["updates"] : nlohmann::json();
  for (const auto* p : optimizer.parameters()) counts.updates.push_back(number(updates, p->name));
  return counts;
}

[[nodiscard]] inline std::string config_text(const nlohmann::json& config) {
  return config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

inline void verify_checkpoint(const SafetensorsFile& file) {
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || format->second != checkpoint_format)
    no_checkpoint(file, fmt::format("its format is not '{}'", checkpoint_format));
  file.verify_checksum();
}

}  // namespace detail

/// Writes a checkpoint. `config` is what must be the same in a run that continues from it (policies by
/// `to_json`, sizes, seed); `state` is handed back by `load_checkpoint`. Throws FileError if the file cannot
/// be written (a full disk, say) and ValueError for a state that is not text: the old file is then unharmed.
/// `more(writer)` may add tensors under names that begin with "method/".
template <class Policy, Backend B>
void save_checkpoint(const std::filesystem::path& path, const ParameterList<B>& parameters,
                     const Optimizer<Policy, B>& optimizer, const nlohmann::json& config,
                     const nlohmann::json& state, const std::function<void(SafetensorsWriter&)>& more = {}) {
  SafetensorsWriter writer;
  for (const auto* p : parameters) writer.add("model/" + p->name, p->value);
  optimizer.each_state([&](const std::string& name, const auto& t) { writer.add("optimizer/" + name, t); });
  nlohmann::json updates = nlohmann::json::object();
  for (std::size_t i = 0; i < optimizer.updates().size(); ++i)
    updates[optimizer.parameters()[i]->name] = optimizer.updates()[i];
  if (more) more(writer);
  const nlohmann::json counts{{"name", Policy::name}, {"steps", optimizer.steps()}, {"updates", updates}};
  writer.metadata("format", detail::checkpoint_format);
  writer.metadata("optimizer", counts.dump());
  writer.metadata("config", detail::config_text(config));
  try {
    writer.metadata("state", state.dump());
  } catch (const nlohmann::json::exception& error) {
    fail<ValueError>("checkpoint", "the state cannot be written as JSON: {}", error.what());
  }
  writer.write(path, true);
}

/// Continues from a checkpoint: restores weights and optimizer, returns `state`. Throws FileError for a file
/// that is missing, corrupt, truncated or no checkpoint and for one of another model, OtherRunError for one
/// of another configuration (the message names the first value that differs). Nothing is changed unless
/// everything fits. `more(file)` may read the tensors that `save_checkpoint`'s added; it is called before
/// anything else is changed.
template <class Policy, Backend B>
[[nodiscard]] nlohmann::json load_checkpoint(const std::filesystem::path& path,
                                             const ParameterList<B>& parameters,
                                             Optimizer<Policy, B>& optimizer, const nlohmann::json& config,
                                             const std::function<void(const SafetensorsFile&)>& more = {}) {
  const SafetensorsFile file(path);
  detail::verify_checkpoint(file);
  const auto state = detail::metadata_json(file, "state", true);
  const auto now = nlohmann::json::parse(detail::config_text(config));
  if (const auto difference = first_difference(detail::metadata_json(file, "config", true), now))
    fail<OtherRunError>("checkpoint", "'{}' belongs to a run of another configuration: {}", path.string(),
                        *difference);
  auto counts = detail::read_counts(file, optimizer);
  auto tensors = detail::checkpoint_weights(parameters);
  optimizer.each_state(
      [&](const std::string& name, auto& t) { tensors.emplace_back("optimizer/" + name, &t); });
  if (more) more(file);
  read_tensors(file, tensors, [](const std::string& name) { return !name.starts_with("method/"); });
  optimizer.restore_counts(counts.steps, std::move(counts.updates));
  return state;
}

/// The weights of a checkpoint alone, of whatever run: to evaluate or to start another run from them. Throws
/// FileError as `load_checkpoint` does, and for a model of another structure.
template <Backend B>
void load_checkpoint_weights(const std::filesystem::path& path, const ParameterList<B>& parameters) {
  const SafetensorsFile file(path);
  detail::verify_checkpoint(file);
  auto tensors = detail::checkpoint_weights(parameters);
  read_tensors(file, tensors, [](const std::string& name) { return name.starts_with("model/"); });
}

}  // namespace retort
