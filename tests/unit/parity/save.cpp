// Models written as Hugging Face folders: read again, and compared with what transformers wrote.
// tests/parity/models/check_export.py has transformers read such folders.
#include "retort/io/hugging_face/save.hpp"

#include <cstdlib>

#include "expected_of_model.hpp"
#include "folder.hpp"

using namespace retort;
using namespace retort::test;
using nlohmann::json;
using F = Cpu<float>;

namespace {

json config_in(const std::filesystem::path& folder) {
  return json::parse(contents(folder / "config.json"));
}

}  // namespace

TEST_CASE("a written folder holds the tensors that transformers wrote, bit by bit, and its configuration") {
  for (const auto& variant : model_variants) {
    CAPTURE(variant);
    const Folder folder("export");
    auto model = load_model(model_fixture(variant));
    save_hugging_face(model, folder.path);
    const SafetensorsFile written(folder / "model.safetensors"),
        original(model_fixture(variant) / "model.safetensors");
    CHECK(written.metadata().at("format") == "pt");
    CHECK(std::set(written.names().begin(), written.names().end()) ==
          std::set(original.names().begin(), original.names().end()));
    for (const auto& name : original.names()) {
      CAPTURE(name);
      CHECK(written.shape(name) == original.shape(name));
      CHECK(written.read<float>(name) == original.read<float>(name));
    }
    const json now = config_in(folder.path), then = config_in(model_fixture(variant));
    for (const auto& [field, value] : now.items())
      if (then.contains(field) && field != "tie_word_embeddings") {
        CAPTURE(field);
        // Widths that transformers leaves out are written.
        CHECK((value == then[field] || then[field].is_null()));
      }
    const ExpectedOfModel expected(variant);
    const auto again = load_model(folder.path);
    CHECK(again.family() == std::string(model.family()));
    CHECK(logits_of(again, expected) == logits_of(model, expected));
  }
}

TEST_CASE("shards and an index are written beyond a size, and stale files do not survive") {
  const Folder folder("export");
  const ExpectedOfModel expected("llama");
  auto model = load_model(model_fixture("llama"));
  save_hugging_face(model, folder.path);
  save_hugging_face(model, folder.path, {.shard_bytes = 5000});
  CHECK_FALSE(std::filesystem::exists(folder / "model.safetensors"));
  const json index = json::parse(contents(folder / "model.safetensors.index.json"));
  std::set<std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    files.insert(file);
    CHECK(SafetensorsFile(folder.path / file.get<std::string>()).contains(tensor));
  }
  CHECK(files.size() > 3);
  CHECK(index["metadata"]["total_size"] == 4 * parameter_count(parameters(model)));
  CHECK(logits_of(load_model(folder.path), expected) == logits_of(model, expected));
  std::filesystem::remove(folder.path / *files.begin());
  CHECK(message_of<FileError>([&] { (void)load_model(folder.path); }).find(*files.begin()) !=
        std::string::npos);
  save_hugging_face(model, folder.path);
  CHECK_FALSE(std::filesystem::exists(folder / "model.safetensors.index.json"));
  CHECK(logits_of(load_model(folder.path), expected) == logits_of(model, expected));
}

TEST_CASE("16-bit files are as near as their format allows, and say so") {
  for (const auto& [dtype, name, precision] :
       {std::tuple{"BF16", "bfloat16", 0.004}, {"F16", "float16", 0.0005}, {"F64", "float64", 0.0}}) {
    const Folder folder("export");
    auto model = load_model(model_fixture("gpt2"));
    save_hugging_face(model, folder.path, {.dtype = dtype, .extra = {{"eos_token_id", 7}, {"n_layer", 99}}});
    CHECK(config_in(folder.path)["dtype"] == name);
    CHECK(config_in(folder.path)["eos_token_id"] == 7);
    CHECK(config_in(folder.path)["n_layer"] == 2);
    auto again = load_model(folder.path);
    const auto before = parameters(model), after = parameters(again);
    for (std::size_t i = 0; i < before.size(); ++i)
      CHECK(difference(after[i]->value.to_host(), before[i]->value.to_host()) <= precision);
  }
  auto model = load_model(model_fixture("gpt2"));
  const Folder folder("export");
  CHECK_THROWS_AS(save_hugging_face(model, folder.path, {.dtype = "I8"}), ValueError);
}

TEST_CASE("a model that the format cannot express is refused before anything is written") {
  const Folder folder("export");
  auto config = Gpt2::config();
  config.vocabulary = 11, config.width = 12, config.layers = 1, config.heads = 4, config.kv_heads = 2;
  Decoder<F, Gpt2> model(config);
  CHECK(message_of<ValueError>([&] { save_hugging_face(model, folder.path / "new"); }) ==
        "[hugging_face] a model of type gpt2 cannot be written with kv_heads other than heads");
  CHECK_FALSE(std::filesystem::exists(folder.path / "new"));
}

TEST_CASE("an unknown family is refused with the list of known ones") {
  const Folder folder("export");
  write_plainly(folder / "config.json", R"({"model_type": "bert"})");
  CHECK(message_of<FileError>([&] { (void)load_model(folder.path); }) ==
        "[hugging_face] '" + (folder / "config.json").string() +
            "': model_type is \"bert\", supported: gpt2, gptj, llama, opt, t5");
  write_plainly(folder / "config.json", R"({"model_type": "t5", "feed_forward_proj": "gated-silu"})");
  CHECK(message_of<FileError>([&] { (void)load_model(folder.path); }) ==
        "[hugging_face] '" + (folder / "config.json").string() +
            "': feed_forward_proj is \"gated-silu\", supported: gated-gelu");
}

TEST_CASE("trained models are written for transformers to read") {
  // check_export.py reads the folders that RETORT_EXPORTS names.
  const char* exports = std::getenv("RETORT_EXPORTS");
  if (exports == nullptr) RETORT_SKIP("RETORT_EXPORTS names no folder to write to");
  for (const auto& variant : model_variants) {
    const ExpectedOfModel expected(variant);
    auto model = load_model(model_fixture(variant));
    train(model, expected, 5);
    const HuggingFaceSaveOptions options{.shard_bytes = variant == "t5" ? 8000 : 1 << 30};
    const auto folder = std::filesystem::path(exports) / variant;
    save_hugging_face(model, folder, options);
    SafetensorsWriter writer;
    const auto logits = logits_of(model, expected);
    writer.add("logits", {std::ssize(logits) / model.vocabulary(), model.vocabulary()}, logits);
    writer.write(folder / "logits.safetensors");
  }
}
