#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "distill/model.hpp"
#include "distill/settings.hpp"

/// Teacher and student: from folders, and back to one.
namespace distill {

/// The model of a Hugging Face folder. FileError if there is none.
[[nodiscard]] Model load_model(const std::filesystem::path& folder);

/// The student: of its folder, or made of layers of the teacher.
[[nodiscard]] Model make_student(const Settings& settings, Model& teacher);

/// Adds the adapters that the settings ask for and freezes weights.
void choose_trained(const Settings& settings, Model& student);

/// What the student is, for the configuration of the run: its sizes, and those of its adapters as "lora".
[[nodiscard]] nlohmann::json description(const Settings& settings, const Model& student);

/// Number of weights, and of those that are trained.
[[nodiscard]] retort::Index weight_count(Model& model);
[[nodiscard]] retort::Index trained_count(Model& model);

/// Whether prompt and response are one sequence.
[[nodiscard]] bool is_decoder(const Model& model);

/// Longest sequence of a decoder; none of an encoder-decoder.
[[nodiscard]] std::optional<retort::Index> positions(const Model& model);

/// Writes the student as a Hugging Face folder `<out>/student`, adapters merged, with the tokenizer's files;
/// and the adapters by themselves as `<out>/adapter`. Returns a line that says where.
std::string export_student(const Settings& settings, Model& student);

}  // namespace distill
