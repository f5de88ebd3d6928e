#include "generate/model.hpp"
#include "retort/io/hugging_face/folder.hpp"

namespace generator {

namespace {

using retort::fail, retort::FileError;

retort::AnyModel<Backend> load(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder))
    fail<FileError>("model", "'{}' {}", folder.string(),
                    std::filesystem::exists(folder) ? "is no folder" : "does not exist");
  if (!std::filesystem::exists(folder / "config.json"))
    fail<FileError>("model", "'{}' has no config.json", folder.string());
  return retort::HuggingFaceFolder(folder).load<Backend>();
}

}  // namespace

Engine::Engine(const std::filesystem::path& folder) : model_(std::make_unique<Model>(load(folder))) {}
Engine::Engine(Engine&&) noexcept = default;
Engine::~Engine() = default;

}  // namespace generator
