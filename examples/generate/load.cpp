#include "generate/model.hpp"
#include "retort/io/hugging_face/folder.hpp"
#include "support/device.hpp"

namespace generator {

using retort::fail, retort::FileError;

// respond.cpp has the members.
extern template class EngineOn<support::CompiledBackend>;

template <retort::Backend B>
std::unique_ptr<Engine> load_engine(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder))
    fail<FileError>("model", "'{}' {}", folder.string(),
                    std::filesystem::exists(folder) ? "is no folder" : "does not exist");
  if (!std::filesystem::exists(folder / "config.json"))
    fail<FileError>("model", "'{}' has no config.json", folder.string());
  return std::make_unique<EngineOn<B>>(retort::HuggingFaceFolder(folder).load<B>());
}

template std::unique_ptr<Engine> load_engine<support::CompiledBackend>(const std::filesystem::path&);

}  // namespace generator
