#include "generate/engine.hpp"
#include "retort/text/load_tokenizer.hpp"

namespace generator {

retort::Tokenizer tokenizer_of(const std::filesystem::path& folder) {
  return retort::load_tokenizer(folder);
}

}  // namespace generator
