#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "distill/model.hpp"
#include "distill/settings.hpp"

/// Teacher and student: from folders, and back to one.
namespace distill {

/// FileError unless there is such a folder.
inline void require_folder(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder))
    retort::fail<retort::FileError>("model", "'{}' {}", folder.string(),
                                    std::filesystem::exists(folder) ? "is no folder" : "does not exist");
}

/// The model of a Hugging Face folder. FileError if there is none.
template <retort::Backend B>
[[nodiscard]] Model<B> load_model(const std::filesystem::path& folder);

/// The student: of its folder, or made of layers of the teacher, which may be nullptr if there are none.
template <retort::Backend B>
[[nodiscard]] Model<B> make_student(const Settings& settings, Model<B>* teacher);

/// Adds the adapters that the settings ask for and freezes weights.
template <retort::Backend B>
void choose_trained(const Settings& settings, Model<B>& student);

/// What the student is, for the configuration of the run: its sizes, and those of its adapters as "lora".
template <retort::Backend B>
[[nodiscard]] nlohmann::json description(const Settings& settings, const Model<B>& student);

/// Number of weights, and of those that are trained.
template <retort::Backend B>
[[nodiscard]] retort::Index weight_count(Model<B>& model);
template <retort::Backend B>
[[nodiscard]] retort::Index trained_count(Model<B>& model);

/// Writes the student as a Hugging Face folder `<out>/student`, adapters merged, with the tokenizer's files;
/// and the adapters by themselves as `<out>/adapter`. Returns a line that says where.
template <retort::Backend B>
std::string export_student(const Settings& settings, Model<B>& student);

}  // namespace distill
