// LoRA adapters in PEFT's layout: those that PEFT wrote give PEFT's logits, written ones are the same files.
// tests/parity/adapters/make_adapter_fixtures.py has PEFT read such folders.
#include "retort/io/peft.hpp"

#include <cstdlib>
#include <fstream>

#include "expected_of_model.hpp"
#include "folder.hpp"

using namespace retort;
using namespace retort::test;
using nlohmann::json;
using F = Cpu<float>;

namespace {

const std::vector<std::string> variants{"gpt2", "llama", "opt_no_bias", "gptj", "t5_v1_1_deep_decoder"};

std::filesystem::path adapter_fixture(const std::string& variant) {
  return std::filesystem::path(RETORT_TESTS_DIR) / "parity" / "adapters" / variant;
}

json config_in(const std::filesystem::path& folder) {
  return json::parse(contents(folder / "adapter_config.json"));
}

std::set<std::string> as_set(const json& list) {
  return list.get<std::set<std::string>>();
}

}  // namespace

TEST_CASE("adapters that PEFT wrote give PEFT's logits, merged or not") {
  for (const auto& variant : variants) {
    CAPTURE(variant);
    const ExpectedOfModel expected(variant);
    const auto right =
        SafetensorsFile(adapter_fixture(variant) / "expected.safetensors").read<float>("logits32");
    auto model = load_model(model_fixture(variant));
    CHECK(difference(logits_of(model, expected), right) > 1e-2);
    const auto weights = parameter_count(parameters(model));
    const LoraConfig config = load_peft(model, adapter_fixture(variant));
    CHECK(config.rank == config_in(adapter_fixture(variant))["r"]);
    CHECK(trainable_count(parameters(model)) == parameter_count(parameters(model)) - weights);
    CHECK(difference(logits_of(model, expected), right) < 1e-5);
    merge_lora(model);
    CHECK(difference(logits_of(model, expected), right) < 1e-5);
  }
}

TEST_CASE("written adapters are the tensors and the configuration that PEFT wrote") {
  for (const auto& variant : variants) {
    CAPTURE(variant);
    const Folder folder("adapter");
    auto model = load_model(model_fixture(variant));
    (void)load_peft(model, adapter_fixture(variant));
    save_peft(model, folder.path, {.base_model = variant});
    const SafetensorsFile written(folder / "adapter_model.safetensors"),
        original(adapter_fixture(variant) / "adapter_model.safetensors");
    CHECK(written.metadata().at("format") == "pt");
    CHECK(as_set(written.names()) == as_set(original.names()));
    for (const auto& name : original.names()) {
      CAPTURE(name);
      CHECK(written.shape(name) == original.shape(name));
      CHECK(written.read<float>(name) == original.read<float>(name));
    }
    const json now = config_in(folder.path), then = config_in(adapter_fixture(variant));
    for (const char* field : {"peft_type", "r", "lora_dropout", "bias", "fan_in_fan_out"})
      CHECK(now[field] == then[field]);
    const double scale = then["use_rslora"] == true ? std::sqrt(then["r"].get<double>()) : 1;
    CHECK(now["lora_alpha"].get<double>() == Approx(then["lora_alpha"].get<double>() * scale));
    CHECK(now["base_model_name_or_path"] == variant);
    // The same layers, whether they are named by their ends or whole.
    auto plain = load_model(model_fixture(variant)), same = plain;
    CHECK(peft_sites(plain, now["target_modules"]) == peft_sites(same, then["target_modules"]));
  }
}

TEST_CASE("a model with adapters is written when they are merged, and refused before") {
  for (const std::string variant : {"gpt2", "llama"}) {
    CAPTURE(variant);
    const Folder folder("adapter");
    auto model = load_model(model_fixture(variant));
    (void)load_peft(model, adapter_fixture(variant));
    CHECK(message_of<ValueError>([&] { save_hugging_face(model, folder.path); }) ==
          "[save_hugging_face] the model has LoRA adapters: merge them before (merge_lora), or write them by "
          "themselves (save_peft)");
    CHECK(folder.files() == 0);
    merge_lora(model);
    save_hugging_face(model, folder.path);
    const auto right =
        SafetensorsFile(adapter_fixture(variant) / "expected.safetensors").read<float>("logits32");
    CHECK(difference(logits_of(load_model(folder.path), ExpectedOfModel(variant)), right) < 1e-5);
  }
}

TEST_CASE("layers are chosen by PEFT's names; a part of a fused projection is a layer") {
  auto model = load_model(model_fixture("llama"));  // width 16, 4 heads on 2 key/value heads
  const auto sites = peft_sites(model, {"layers.1.self_attn.v_proj", "q_proj"});
  CHECK(sites == std::vector<LoraSite>{{"block.0.attention.qkv", 0, 16},
                                       {"block.1.attention.qkv", 0, 16},
                                       {"block.1.attention.qkv", 24, 8}});
  CHECK(peft_sites(model, {}).size() == 14);
  CHECK(message_of<ValueError>([&] {
          (void)peft_sites(model, {"q_proj", "c_attn"});
        }) ==
        "[lora] no layer is called 'c_attn', expected some of down_proj, gate_proj, k_proj, o_proj, q_proj, "
        "up_proj, v_proj");
}

TEST_CASE("layers of which only some have adapters are named whole") {
  const Folder folder("adapter");
  auto model = load_model(model_fixture("llama"));
  add_lora(model, peft_sites(model, {"layers.1.self_attn.v_proj", "q_proj"}), {.rank = 2}, RandomKey{1});
  save_peft(model, folder.path);
  CHECK(as_set(config_in(folder.path)["target_modules"]) ==
        std::set<std::string>{"q_proj", "model.layers.1.self_attn.v_proj"});
}

TEST_CASE("what PEFT's layout cannot express is refused") {
  const Folder folder("adapter");
  auto model = load_model(model_fixture("llama"));
  CHECK(message_of<ValueError>([&] { save_peft(model, folder.path); }) ==
        "[save_peft] the model has no adapters");
  add_lora(model, lora_sites(model, {"attention.qkv"}), {.rank = 2}, RandomKey{1});
  CHECK(message_of<ValueError>([&] { save_peft(model, folder.path); }) ==
        "[save_peft] rows [0, 32) of block.0.attention.qkv are no layer of a llama file");
  merge_lora(model);
  for (const Index rank : {2, 3})
    add_lora(model, peft_sites(model, {rank == 2 ? "q_proj" : "up_proj"}), {.rank = rank}, RandomKey{1});
  CHECK(message_of<ValueError>([&] {
          save_peft(model, folder.path);
        }).starts_with("[save_peft] adapters of several"));
  CHECK_FALSE(std::filesystem::exists(folder / "adapter_config.json"));
}

TEST_CASE("adapters that do not fit are refused in one line, and the model stays as it was") {
  const Folder folder("adapter");
  auto model = load_model(model_fixture("llama"));
  const auto refused = [&](const std::string& text) {
    const auto error = message_of<FileError>([&] { (void)load_peft(model, folder.path); });
    CAPTURE(error);
    CHECK(error.find(text) != std::string::npos);
    CHECK_FALSE(has_lora(model));
    CHECK(trainable_count(parameters(model)) == parameter_count(parameters(model)));
  };
  refused("adapter_config.json");
  const json good = config_in(adapter_fixture("llama"));
  const auto with = [&](const char* field, const json& value) {
    json changed = good;
    changed[field] = value;
    write_plainly(folder / "adapter_config.json", changed.dump());
  };
  with("r", 2);
  refused("adapter_model.safetensors");
  const auto tensors = [&](const std::string& variant) {
    std::filesystem::copy_file(adapter_fixture(variant) / "adapter_model.safetensors",
                               folder / "adapter_model.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
  };
  tensors("llama");
  with("r", 3);
  refused("has shape (2, 16) in the file, expected (3, 16)");
  with("peft_type", "IA3");
  refused("peft_type is \"IA3\", supported: LORA");
  with("use_dora", true);
  refused("use_dora is true, which is not supported");
  with("alpha_pattern", {{"q_proj", 3}});
  refused("alpha_pattern");
  with("alora_invocation_tokens", {1, 2});
  refused("alora_invocation_tokens is [1,2], which is not supported");
  with("arrow_config", {{"top_k", 2}});
  refused("arrow_config is {\"top_k\":2}, which is not supported");
  with("variant_of_tomorrow", 1);
  refused("variant_of_tomorrow is 1, which is not supported");
  with("init_lora_weights", "pissa");
  refused("init_lora_weights is \"pissa\", supported: true, false, gaussian, orthogonal");
  with("bias", "all");
  refused("bias is \"all\"");
  with("r", 0);
  refused("r is 0");
  with("r", 2);
  tensors("gpt2");
  refused("is no adapter of a layer of a llama model");
  tensors("llama");
  CHECK(load_peft(model, folder.path).alpha == 8);
}

TEST_CASE("adapters are written for PEFT to read") {
  // make_adapter_fixtures.py reads the folders that RETORT_EXPORTS names.
  const char* exports = std::getenv("RETORT_EXPORTS");
  if (exports == nullptr) RETORT_SKIP("RETORT_EXPORTS names no folder to write to");
  for (const auto& variant : variants) {
    auto model = load_model(model_fixture(variant));
    const std::vector<std::string> targets =
        variant == "gpt2" ? std::vector<std::string>{"c_attn", "c_fc"} : std::vector<std::string>{};
    add_lora(model, peft_sites(model, targets), {.rank = 2, .alpha = 3, .dropout = 0.1}, RandomKey{5});
    std::uint64_t stream = 0;
    for (auto* p : parameters(model))
      if (p->trainable)
        p->value = TensorOf<F>::from(p->shape(), normals<float>(p->value.size(), ++stream, 0.2));
    const auto folder = std::filesystem::path(exports) / variant;
    save_peft(model, folder);
    SafetensorsWriter writer;
    const ExpectedOfModel expected(variant);
    writer.add("logits", response_logits(model, expected.prompts(), expected.responses()));
    writer.write(folder / "logits.safetensors");
  }
}
