#include "distill/models.hpp"

#include "retort/io/hugging_face/folder.hpp"
#include "retort/io/peft.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/models/layer_subset.hpp"
#include "support/device.hpp"

namespace distill {

using retort::fail, retort::ValueError, retort::Index;
namespace fs = std::filesystem;

namespace {

retort::LoraConfig lora_of(const Settings& s) {
  return {.rank = s.lora_rank, .alpha = s.lora_alpha, .dropout = s.lora_dropout};
}

}  // namespace

template <retort::Backend B>
Model<B> load_model(const fs::path& folder) {
  require_folder(folder);
  return Model<B>(retort::HuggingFaceFolder(folder).load<B>());
}

template <retort::Backend B>
Model<B> make_student(const Settings& s, Model<B>* teacher) {
  const bool cut = !s.student_layers.empty() || !s.student_encoder_layers.empty();
  if (s.student.empty() != cut)
    fail<ValueError>("student", "give --student or --student-layers, one of them");
  if (!cut) return load_model<B>(s.student);
  return Model<B>(retort::take_layers(teacher->any(), {s.student_layers, s.student_encoder_layers}));
}

template <retort::Backend B>
void choose_trained(const Settings& s, Model<B>& student) {
  if (s.lora_rank > 0)
    retort::add_lora(student.any(), retort::peft_sites(student.any(), s.lora_targets), lora_of(s),
                     retort::RandomKey{s.seed, 0x6c6f7261});
  const auto list = retort::parameters(student);
  for (const auto& pattern : s.freeze) retort::freeze(list, pattern);
  if (trained_count(student) == 0) fail<ValueError>("freeze", "nothing is left to train");
}

template <retort::Backend B>
nlohmann::json description(const Settings& s, const Model<B>& student) {
  nlohmann::json json = student.any().visit([](const auto& m) { return retort::model_json(m); });
  if (s.lora_rank > 0) json["lora"] = retort::to_json(lora_of(s));
  return json;
}

template <retort::Backend B>
Index weight_count(Model<B>& model) {
  return retort::parameter_count(retort::parameters(model));
}
template <retort::Backend B>
Index trained_count(Model<B>& model) {
  return retort::trainable_count(retort::parameters(model));
}

using B = support::CompiledBackend;
template Model<B> load_model(const fs::path&);
template Model<B> make_student(const Settings&, Model<B>*);
template void choose_trained(const Settings&, Model<B>&);
template nlohmann::json description(const Settings&, const Model<B>&);
template Index weight_count(Model<B>&);
template Index trained_count(Model<B>&);

}  // namespace distill
