#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "retort/io/checkpoint.hpp"
#include "retort/io/policy_json.hpp"

namespace support {

namespace detail {

/// "the first that differs is "aa" there and nothing here".
[[nodiscard]] inline std::string first_other(const nlohmann::json& there, const nlohmann::json& here) {
  const auto name = [](const nlohmann::json& list, std::size_t i) {
    return list.is_array() && i < list.size() ? list[i].dump() : std::string("nothing");
  };
  std::size_t i = 0;
  while (name(there, i) == name(here, i) && i < here.size()) ++i;
  return fmt::format("the first that differs is {} there and {} here", name(there, i), name(here, i));
}

}  // namespace detail

/// Loads the weights of a run of the same program from its folder. The run's "setting" must have the model's
/// sizes and, under the name `tokens` ("words", say), this vocabulary. Throws FileError for a folder of
/// something else, ValueError for another vocabulary or other sizes.
template <class Model>
void load_teacher(const std::filesystem::path& folder, Model& model, const char* tokens,
                  const nlohmann::json& vocabulary) {
  using namespace retort;
  const std::string path = (folder / "config.json").string();
  std::ifstream file(path);
  if (!file) fail<FileError>("teacher", "'{}' cannot be read", path);
  const auto config = nlohmann::json::parse(file, nullptr, false);
  const nlohmann::json* setting =
      config.is_object() && config.contains("config") && config["config"].contains("setting")
          ? &config["config"]["setting"]
          : nullptr;
  if (setting == nullptr || !setting->contains(tokens) || !setting->contains("model"))
    fail<FileError>("teacher", "'{}' is not the configuration of a run of this program", path);
  if ((*setting)[tokens] != vocabulary)
    fail<ValueError>("teacher", "'{}' has another vocabulary than the student: {} {} and {}, {}",
                     folder.string(), (*setting)[tokens].size(), tokens, vocabulary.size(),
                     detail::first_other((*setting)[tokens], vocabulary));
  if (const auto difference = first_difference((*setting)["model"], model_json(model)))
    fail<ValueError>("teacher", "'{}' has other sizes: {} (give the --teacher-... flags it was made with)",
                     folder.string(), *difference);
  load_checkpoint_weights(folder / "checkpoint.safetensors", parameters(model));
}

}  // namespace support
