#include "distill/models.hpp"

#include "retort/io/hugging_face/folder.hpp"
#include "retort/io/peft.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/models/layer_subset.hpp"

namespace distill {

using retort::fail, retort::FileError, retort::ValueError, retort::Index;
namespace fs = std::filesystem;

namespace {

retort::LoraConfig lora_of(const Settings& s) {
  return {.rank = s.lora_rank, .alpha = s.lora_alpha, .dropout = s.lora_dropout};
}

}  // namespace

Model load_model(const fs::path& folder) {
  if (!fs::is_directory(folder))
    fail<FileError>("model", "'{}' {}", folder.string(),
                    fs::exists(folder) ? "is no folder" : "does not exist");
  return Model(retort::HuggingFaceFolder(folder).load<Backend>());
}

Model make_student(const Settings& s, Model& teacher) {
  const bool cut = !s.student_layers.empty() || !s.student_encoder_layers.empty();
  if (s.student.empty() != cut)
    fail<ValueError>("student", "give --student or --student-layers, one of them");
  if (!cut) return load_model(s.student);
  return Model(retort::take_layers(teacher.any(), {s.student_layers, s.student_encoder_layers}));
}

void choose_trained(const Settings& s, Model& student) {
  if (s.lora_rank > 0)
    retort::add_lora(student.any(), retort::peft_sites(student.any(), s.lora_targets), lora_of(s),
                     retort::RandomKey{s.seed, 0x6c6f7261});
  const auto list = retort::parameters(student);
  for (const auto& pattern : s.freeze) retort::freeze(list, pattern);
  if (trained_count(student) == 0) fail<ValueError>("freeze", "nothing is left to train");
}

nlohmann::json description(const Settings& s, const Model& student) {
  nlohmann::json json = student.any().visit([](const auto& m) { return retort::model_json(m); });
  if (s.lora_rank > 0) json["lora"] = retort::to_json(lora_of(s));
  return json;
}

Index weight_count(Model& model) {
  return retort::parameter_count(retort::parameters(model));
}
Index trained_count(Model& model) {
  return retort::trainable_count(retort::parameters(model));
}

bool is_decoder(const Model& model) {
  return positions(model).has_value();
}

std::optional<Index> positions(const Model& model) {
  return model.any().visit([](const auto& m) -> std::optional<Index> {
    if constexpr (requires { m.config().positions; }) return m.config().positions;
    return std::nullopt;
  });
}

}  // namespace distill
