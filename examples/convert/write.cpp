#include <algorithm>
#include <system_error>

#include "convert/model.hpp"
#include "retort/io/hugging_face/save.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/version.hpp"

namespace convert {

namespace {

void write_retort(retort::AnyModel<B>& model, const std::filesystem::path& path, const std::string& dtype,
                  const nlohmann::json& hugging_face) {
  const nlohmann::json description = model.visit([](const auto& m) { return retort::model_json(m); });
  nlohmann::json config{{"library", fmt::format("retort {}", retort::version)}, {"model", description}};
  if (!hugging_face.empty()) config["hugging_face"] = hugging_face;

  retort::SafetensorsWriter writer;
  writer.metadata("format", "retort.weights 1");
  for (const auto* p : retort::parameters(model))
    writer.add_as<float>(dtype, p->name, p->shape(), [p](retort::Index first, std::span<float> to) {
      std::copy_n(p->value.data() + first, to.size(), to.begin());
    });
  std::error_code reason;
  std::filesystem::create_directories(path, reason);
  if (reason)
    retort::fail<retort::FileError>("convert", "cannot make '{}': {}", path.string(), reason.message());
  writer.write(path / "model.safetensors");
  retort::write_file(path / "config.json", config.dump(2) + "\n");
}

}  // namespace

void ModelFolder::write(const std::filesystem::path& path, Kind kind, const std::string& dtype) {
  if (kind == Kind::retort)
    write_retort(model_->any, path, dtype, hugging_face_);
  else
    retort::save_hugging_face(model_->any, path, {.dtype = dtype, .extra = hugging_face_});
}

}  // namespace convert
