#include "generate/model.hpp"
#include "retort/io/hugging_face/folder.hpp"
#include "support/device.hpp"

namespace generator {

using retort::fail, retort::FileError;

// respond.cpp has the members.
extern template class EngineOn<support::CompiledBackend>;

namespace {

/// `what` is the model's part in messages: model or draft.
template <retort::Backend B>
retort::AnyModel<B> load(const std::filesystem::path& folder, const char* what) {
  if (!std::filesystem::is_directory(folder))
    fail<FileError>(what, "'{}' {}", folder.string(),
                    std::filesystem::exists(folder) ? "is no folder" : "does not exist");
  if (!std::filesystem::exists(folder / "config.json"))
    fail<FileError>(what, "'{}' has no config.json", folder.string());
  return retort::HuggingFaceFolder(folder).load<B>();
}

}  // namespace

template <retort::Backend B>
std::unique_ptr<Engine> load_engine(const std::filesystem::path& folder,
                                    const std::optional<std::string>& draft) {
  auto model = load<B>(folder, "model");
  return std::make_unique<EngineOn<B>>(
      std::move(model), draft ? std::make_unique<EngineOn<B>>(load<B>(*draft, "draft")) : nullptr);
}

template std::unique_ptr<Engine> load_engine<support::CompiledBackend>(const std::filesystem::path&,
                                                                       const std::optional<std::string>&);

}  // namespace generator
