// Folders that do not fit, in every way, and spellings that mean the same. What the numbers are is tested in
// unit/parity.
#include "retort/io/hugging_face/folder.hpp"

#include <functional>

#include "catch.hpp"
#include "folder.hpp"
#include "numbers.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/io/safetensors.hpp"

using namespace retort;
using namespace retort::test;
using nlohmann::json;
using B = Cpu<float>;
using LlamaModel = Decoder<B, Llama>;

namespace {

std::filesystem::path fixture(const std::string& variant) {
  return std::filesystem::path(RETORT_TESTS_DIR) / "parity" / "models" / variant;
}

json config_of(const std::string& variant) {
  return json::parse(contents(fixture(variant) / "config.json"));
}

/// A copy of a fixture whose parts may be changed.
struct Copy {
  Folder folder{"hugging_face"};
  std::string variant;

  explicit Copy(std::string name) : variant(std::move(name)) {
    for (const char* file : {"config.json", "model.safetensors"})
      write_plainly(folder / file, contents(fixture(variant) / file));
  }
  void config(const json& value) const { write_plainly(folder / "config.json", value.dump()); }
  void change(const std::function<void(json&)>& f) const {
    json value = config_of(variant);
    f(value);
    config(value);
  }
  /// Writes the tensors again, each under the names that `f` gives it.
  void rename(const std::function<std::vector<std::string>(const std::string&)>& f,
              const std::function<void(SafetensorsWriter&)>& more = {}) const {
    const SafetensorsFile file(fixture(variant) / "model.safetensors");
    SafetensorsWriter writer;
    for (const auto& name : file.names())
      for (const auto& other : f(name)) writer.add(other, file.shape(name), file.read<float>(name));
    if (more) more(writer);
    writer.write(folder / "model.safetensors");
  }
};

const auto same_name = [](const std::string& name) { return std::vector{name}; };

template <class Model = LlamaModel>
std::string refusal(const Copy& copy) {
  std::string text = message_of<FileError>([&] { (void)load_family<Model>(copy.folder.path); });
  CHECK(text.find('\n') == std::string::npos);
  for (auto at = text.find(copy.folder.path.string()); at != std::string::npos;
       at = text.find(copy.folder.path.string()))
    text.replace(at, copy.folder.path.string().size(), "DIR");
  return text;
}

std::vector<float> weights(auto& model) {
  std::vector<float> all;
  for (const auto* p : parameters(model)) {
    const auto values = p->value.to_host();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

}  // namespace

TEST_CASE("a field that changes the computation and is not supported is an error with file and field") {
  const Copy copy("llama");
  const auto with = [&](const char* field, const json& value) {
    copy.change([&](json& c) { c[field] = value; });
    return refusal(copy);
  };
  CHECK(with("hidden_act", "gelu") ==
        "[hugging_face] 'DIR/config.json': hidden_act is \"gelu\", supported: silu");
  CHECK(with("rope_parameters", {{"rope_type", "yarn"}, {"factor", 2}}) ==
        "[hugging_face] 'DIR/config.json': rope_parameters.rope_type is \"yarn\", supported: default, "
        "linear, llama3");
  CHECK(with("rope_scaling", {{"type", "dynamic"}, {"factor", 2}}) ==
        "[hugging_face] 'DIR/config.json': rope_scaling.type is \"dynamic\", supported: default, linear, "
        "llama3");
  CHECK(with("partial_rotary_factor", 0.5) ==
        "[hugging_face] 'DIR/config.json': partial_rotary_factor is 0.5, supported: 1.0");
  CHECK(with("quantization_config", {{"bits", 4}}) ==
        "[hugging_face] 'DIR/config.json': quantization_config is {\"bits\":4}, supported: null");
  CHECK(with("hidden_size", "16") ==
        "[hugging_face] 'DIR/config.json': hidden_size is \"16\", expected a whole number from 1 to 2^30");
  CHECK(with("hidden_size", -3).find("hidden_size is -3, expected") != std::string::npos);
  CHECK(with("hidden_size", nullptr) == "[hugging_face] 'DIR/config.json': hidden_size is missing");
  CHECK(with("rms_norm_eps", "small") ==
        "[hugging_face] 'DIR/config.json': rms_norm_eps is \"small\", expected a number");
  CHECK(with("mlp_bias", 1) == "[hugging_face] 'DIR/config.json': mlp_bias is 1, expected true or false");
  CHECK(with("rope_parameters", 7) ==
        "[hugging_face] 'DIR/config.json': rope_parameters is 7, expected an object");
  CHECK(with("rope_parameters", {{"rope_type", "linear"}}) ==
        "[hugging_face] 'DIR/config.json': rope_parameters.factor is missing");
  CHECK(with("num_attention_heads", 3) ==
        "[hugging_face] 'DIR/config.json': [decoder] 3 heads cannot share 2 key/value heads");
  CHECK(with("model_type", "gpt2") == "[hugging_face] 'DIR' holds a model of type \"gpt2\", expected llama");

  const std::string begin = "[hugging_face] 'DIR/config.json': ";
  CHECK(with("rms_norm_eps", -1) == begin + "rms_norm_eps is -1, expected a number of at least 0");
  CHECK(with("initializer_range", -1) == begin + "initializer_range is -1, expected a number of at least 0");
  CHECK(with("attention_dropout", 1) ==
        begin + "attention_dropout is 1, expected a number from 0 to below 1");
  CHECK(with("rope_parameters", {{"rope_theta", 0}}) ==
        begin + "rope_parameters.rope_theta is 0, expected a number above 0");
  CHECK(with("eos_token_id", 59) == begin + "eos_token_id is 59, expected ids from 0 to 58");
  CHECK(with("eos_token_id", {1, -2}) == begin + "eos_token_id is [1,-2], expected ids from 0 to 58");
  CHECK(with("bos_token_id", "1") == begin + "bos_token_id is \"1\", expected ids from 0 to 58");
  CHECK(with("eos_token_id", -1) == "no error");
  CHECK(with("torch_dtype", "float33") == "no error");  // dtype is there as well and counts
  CHECK_THAT(with("dtype", "float33"),
             Catch::Matchers::StartsWith(begin + "dtype is \"float33\", supported: float32, bfloat16"));

  const auto others = [](const char* variant, const char* field, const json& value) {
    const Copy other(variant);
    other.change([&](json& c) { c[field] = value; });
    const std::string type = config_of(variant)["model_type"];
    return type == "gpt2"  ? refusal<Decoder<B, Gpt2>>(other)
           : type == "opt" ? refusal<Decoder<B, Opt>>(other)
                           : "";
  };
  CHECK(others("gpt2", "layer_norm_epsilon", -1) ==
        begin + "layer_norm_epsilon is -1, expected a number of at least 0");
  CHECK(others("gpt2", "resid_pdrop", 7) == begin + "resid_pdrop is 7, expected a number from 0 to below 1");
  CHECK(others("gpt2", "embd_pdrop", -0.5) ==
        begin + "embd_pdrop is -0.5, expected a number from 0 to below 1");
  CHECK(others("opt", "init_std", -1) == begin + "init_std is -1, expected a number of at least 0");
  CHECK(others("gpt2", "scale_attn_by_inverse_layer_idx", true) ==
        "[hugging_face] 'DIR/config.json': scale_attn_by_inverse_layer_idx is true, supported: false");
  CHECK(others("gpt2", "scale_attn_weights", false) ==
        "[hugging_face] 'DIR/config.json': scale_attn_weights is false, supported: true");
  CHECK(others("gpt2", "activation_function", "relu") ==
        "[hugging_face] 'DIR/config.json': activation_function is \"relu\", supported: gelu_new, "
        "gelu_pytorch_tanh");
  CHECK(others("opt", "layer_norm_elementwise_affine", false) ==
        "[hugging_face] 'DIR/config.json': layer_norm_elementwise_affine is false, supported: true");
  CHECK(others("opt", "layerdrop", 0.1) ==
        "[hugging_face] 'DIR/config.json': layerdrop is 0.1, supported: 0");
}

TEST_CASE("every number and switch of config.json reaches the model's configuration") {
  const auto configuration = [](const std::filesystem::path& path) {
    const HuggingFaceFolder folder(path);
    json found;
    const auto look = [&]<class Model>(std::type_identity<Model>) {
      if (folder.holds<Model>()) found = to_json(folder.config_of<Model>());
    };
    [&]<class... Models>(std::type_identity<std::variant<Models...>>) {
      (look(std::type_identity<Models>{}), ...);
    }(std::type_identity<AnyModel<B>::Choice>{});
    return found;
  };
  struct Field {
    const char *file, *model;
    json value;
    json expected = nullptr;  // null: the value
  };
  const auto check = [&](const char* variant, const std::vector<Field>& fields) {
    const json plain = configuration(fixture(variant));
    for (const Field& f : fields) {
      CAPTURE(variant, f.file);
      const Copy copy(variant);
      copy.change([&](json& c) { c[json::json_pointer(f.file)] = f.value; });
      json right = plain;
      right[json::json_pointer(f.model)] = f.expected.is_null() ? f.value : f.expected;
      CHECK(plain != right);
      CHECK(configuration(copy.folder.path) == right);
    }
  };
  const std::vector<Field> gpt{{"/vocab_size", "/vocabulary", 70},
                               {"/n_positions", "/positions", 50},
                               {"/n_embd", "/width", 24},
                               {"/n_layer", "/layers", 4},
                               {"/n_head", "/heads", 5},
                               {"/n_inner", "/hidden", 33},
                               {"/resid_pdrop", "/dropout", 0.2},
                               {"/embd_pdrop", "/embedding_dropout", 0.3},
                               {"/attn_pdrop", "/attention_dropout", 0.4},
                               {"/layer_norm_epsilon", "/norm_epsilon", 1e-3},
                               {"/initializer_range", "/init_deviation", 0.5}};
  check("gpt2_untied", gpt);
  check("gpt2_untied", {{"/tie_word_embeddings", "/tied_head", true}});
  check("gptj_whole_head", gpt);
  check("gptj_whole_head",
        {{"/rotary_dim", "/rotary/width", 2}, {"/tie_word_embeddings", "/tied_head", true}});
  check("opt", {{"/vocab_size", "/vocabulary", 70},
                {"/max_position_embeddings", "/positions", 50},
                {"/word_embed_proj_dim", "/embedding_width", 6},
                {"/num_hidden_layers", "/layers", 4},
                {"/num_attention_heads", "/heads", 6},
                {"/ffn_dim", "/hidden", 33},
                {"/dropout", "/dropout", 0.2},
                {"/attention_dropout", "/attention_dropout", 0.4},
                {"/init_std", "/init_deviation", 0.5},
                {"/_remove_final_layer_norm", "/final_norm", true, false},
                {"/tie_word_embeddings", "/tied_head", false}});
  check("llama_llama3",
        {{"/vocab_size", "/vocabulary", 70},
         {"/max_position_embeddings", "/positions", 50},
         {"/hidden_size", "/width", 24},
         {"/num_hidden_layers", "/layers", 4},
         {"/num_attention_heads", "/heads", 6},
         {"/num_key_value_heads", "/kv_heads", 2},
         {"/head_dim", "/head_width", 8},
         {"/intermediate_size", "/hidden", 33},
         {"/attention_dropout", "/attention_dropout", 0.4},
         {"/rms_norm_eps", "/norm_epsilon", 1e-3},
         {"/initializer_range", "/init_deviation", 0.5},
         {"/attention_bias", "/attention_bias", true},
         {"/mlp_bias", "/mlp_bias", true},
         {"/tie_word_embeddings", "/tied_head", true},
         {"/rope_parameters/rope_theta", "/rotary/theta", 700.0},
         {"/rope_parameters/factor", "/rotary/factor", 6.0},
         {"/rope_parameters/low_freq_factor", "/rotary/low_frequency", 0.5},
         {"/rope_parameters/high_freq_factor", "/rotary/high_frequency", 5.0},
         {"/rope_parameters/original_max_position_embeddings", "/rotary/original_positions", 30}});
  for (const char* variant : {"t5", "t5_v1_1_deep_encoder"})
    check(variant, {{"/vocab_size", "/vocabulary", 70},
                    {"/d_model", "/width", 24},
                    {"/d_kv", "/head_width", 9},
                    {"/d_ff", "/hidden", 33},
                    {"/num_layers", "/encoder_layers", 5},
                    {"/num_decoder_layers", "/decoder_layers", 6},
                    {"/num_heads", "/heads", 4},
                    {"/relative_attention_num_buckets", "/buckets", 10},
                    {"/relative_attention_max_distance", "/max_distance", 30},
                    {"/dropout_rate", "/dropout", 0.2},
                    {"/layer_norm_epsilon", "/norm_epsilon", 1e-3},
                    {"/decoder_start_token_id", "/start_token", 3}});
}

TEST_CASE("a config.json that is none, and a folder without one, are errors") {
  const Copy copy("llama");
  write_plainly(copy.folder / "config.json", "{\"a\": ");
  CHECK_THAT(refusal(copy), Catch::Matchers::StartsWith("[hugging_face] 'DIR/config.json' is no JSON: "));
  write_plainly(copy.folder / "config.json", "[1]");
  CHECK(refusal(copy) == "[hugging_face] 'DIR/config.json' holds no JSON object");
  write_plainly(copy.folder / "config.json", std::string(100000, '[') + std::string(100000, ']'));
  CHECK(refusal(copy) == "[hugging_face] 'DIR/config.json' is nested too deeply");
  std::string many = "{\"a\":[{}";  // a parser that looks back at each of them would take minutes
  for (int i = 0; i < 300'000; ++i) many += ",{}";
  write_plainly(copy.folder / "config.json", many + "]}");
  CHECK_THAT(refusal(copy), Catch::Matchers::Contains("holds a model of type null"));
  write_plainly(copy.folder / "config.json", std::string(std::size_t{17} << 20, ' '));
  CHECK(refusal(copy) ==
        "[hugging_face] 'DIR/config.json' has 17825792 bytes, a configuration has at most 16777216");
  std::filesystem::remove(copy.folder / "config.json");
  CHECK(refusal(copy) == "[read] cannot read 'DIR/config.json': No such file or directory");
}

TEST_CASE("a decoder starts with the token of generation_config.json if that names one") {
  const Copy copy("t5");
  const auto start = [&](const char* generation) {
    write_plainly(copy.folder / "generation_config.json", generation);
    return load_family<EncoderDecoder<B, T5>>(copy.folder.path).config().start_token;
  };
  CHECK(start("{}") == 0);
  CHECK(start(R"({"decoder_start_token_id": 7, "eos_token_id": [1, 54]})") == 7);
  CHECK(start(R"({"decoder_start_token_id": null})") == 0);
  CHECK_THAT(message_of<FileError>([&] { start(R"({"decoder_start_token_id": 55})"); }),
             Catch::Matchers::Contains(
                 "generation_config.json': decoder_start_token_id is 55, expected ids from 0 to 54"));
  CHECK_THAT(message_of<FileError>([&] { start(R"({"eos_token_id": [1, 55]})"); }),
             Catch::Matchers::Contains(
                 "generation_config.json': eos_token_id is [1,55], expected ids from 0 to 54"));
}

TEST_CASE("older and newer spellings of a rotary embedding mean the same") {
  const auto read = [](const json& config) {
    const Copy copy("llama");
    copy.config(config);
    return to_json(HuggingFaceFolder(copy.folder.path).config_of<LlamaModel>());
  };
  for (const char* variant : {"llama", "llama_linear", "llama_llama3"}) {
    const json newer = config_of(variant);
    json older = newer;
    json rope = newer["rope_parameters"];
    older.erase("rope_parameters");
    older["rope_theta"] = rope["rope_theta"];
    rope.erase("rope_theta");
    CAPTURE(variant);
    older["rope_scaling"] = rope;
    CHECK(read(older) == read(newer));
    rope["type"] = rope["rope_type"];
    rope.erase("rope_type");
    older["rope_scaling"] = rope;
    CHECK(read(older) == read(newer));
    older["rope_theta"] = 77;
    CHECK(read(older)["rotary"]["theta"] == 77);
  }
  json plain = config_of("llama");
  plain.erase("rope_parameters");
  plain["rope_scaling"] = nullptr;
  CHECK(read(plain)["rotary"]["theta"] == 10000);
  plain["head_dim"] = nullptr;
  plain["num_key_value_heads"] = nullptr;
  CHECK(read(plain)["kv_heads"] == 4);
  CHECK(read(plain)["head_width"] == 0);
}

TEST_CASE("all tensors that do not fit are in one error") {
  const Copy copy("llama");
  copy.rename(
      [](const std::string& name) {
        if (name == "model.layers.0.self_attn.q_proj.weight" || name == "model.norm.weight")
          return std::vector<std::string>{};
        return std::vector{name};
      },
      [](SafetensorsWriter& w) {
        w.add("model.norm.weight", {3}, std::vector<float>(3));
        w.add("score.weight", {2}, std::vector<float>(2));
        w.add("model.layers.2.mlp.up_proj.weight", {2}, std::vector<float>(2));
      });
  CHECK(refusal(copy) ==
        "[load] 'DIR' does not fit: missing: model.layers.0.self_attn.q_proj.weight; not expected: "
        "model.layers.2.mlp.up_proj.weight, score.weight; model.norm.weight has shape (3) in the file, "
        "expected "
        "(16)");

  const Copy whole_numbers("llama");
  whole_numbers.rename(
      [](const std::string& name) {
        return name == "model.norm.weight" ? std::vector<std::string>{} : std::vector{name};
      },
      [](SafetensorsWriter& w) { w.add("model.norm.weight", {16}, std::vector<std::int64_t>(16)); });
  CHECK(refusal(whole_numbers) ==
        "[load] 'DIR' does not fit: model.norm.weight holds I64, expected F32, BF16, F16 or F64");
}

TEST_CASE("prefixes are optional, and tensors that hold nothing of the model are passed over") {
  auto right = load_family<LlamaModel>(fixture("llama"));
  const Copy copy("llama");
  copy.rename(
      [](const std::string& name) { return std::vector{name.starts_with("model.") ? name.substr(6) : name}; },
      [](SafetensorsWriter& w) {
        w.add("layers.0.self_attn.rotary_emb.inv_freq", {2}, std::vector<float>(2));
      });
  auto bare = load_family<LlamaModel>(copy.folder.path);
  CHECK(weights(bare) == weights(right));

  copy.rename([](const std::string& name) {
    return name == "lm_head.weight" ? std::vector{name, "model." + name} : std::vector{name};
  });
  CHECK_THAT(refusal(copy), Catch::Matchers::Contains("is there twice"));

  using Gpt2Model = Decoder<B, Gpt2>;
  auto gpt2 = load_family<Gpt2Model>(fixture("gpt2"));
  const Copy old("gpt2");
  old.rename(
      [](const std::string& name) {
        return std::vector{name.starts_with("transformer.") ? name.substr(12) : name};
      },
      [](SafetensorsWriter& w) {
        w.add("h.0.attn.bias", {1, 1, 40, 40}, std::vector<float>(1600));
        w.add("h.1.attn.masked_bias", {}, std::vector<float>(1));
      });
  auto older = load_family<Gpt2Model>(old.folder.path);
  CHECK(weights(older) == weights(gpt2));

  // Opt names: model.decoder., decoder. and none.
  using OptModel = Decoder<B, Opt>;
  auto opt = load_family<OptModel>(fixture("opt"));
  for (const char* prefix : {"decoder.", ""}) {
    const Copy other("opt");
    other.rename([&](const std::string& name) { return std::vector{prefix + name.substr(14)}; });
    auto read = load_family<OptModel>(other.folder.path);
    CHECK(weights(read) == weights(opt));
  }
}

TEST_CASE("a tied head may be in the file again, alone, or turn out to be another one") {
  using Gpt2Model = Decoder<B, Gpt2>;
  auto right = load_family<Gpt2Model>(fixture("gpt2"));
  const Copy copy("gpt2");
  const std::string table = "transformer.wte.weight", head = "lm_head.weight";
  for (const std::vector<std::string>& names : {std::vector{table, head}, std::vector{head}}) {
    copy.rename([&](const std::string& name) { return name == table ? names : std::vector{name}; });
    auto again = load_family<Gpt2Model>(copy.folder.path);
    CHECK(again.config().tied_head);
    CHECK(weights(again) == weights(right));
  }
  copy.rename(same_name, [&](SafetensorsWriter& w) {
    w.add(head, {61, 12}, std::vector<float>(61 * 12, 0.5f));
  });
  auto own = load_family<Gpt2Model>(copy.folder.path);
  CHECK_FALSE(own.config().tied_head);
  CHECK(own.head().weight->value.to_host() == std::vector<float>(61 * 12, 0.5f));
}

TEST_CASE("weights of every number type are read, in float and in double") {
  const Copy copy("llama");
  auto right = load_family<LlamaModel>(fixture("llama"));
  const auto exact = weights(right);
  const SafetensorsFile file(fixture("llama") / "model.safetensors");
  for (const auto& [dtype, precision] :
       {std::pair{"F64", 0.0}, {"F32", 0.0}, {"BF16", 0.004}, {"F16", 0.0005}}) {
    SafetensorsWriter writer;
    for (const auto& name : file.names())
      writer.add_as<float>(dtype, name, file.shape(name), [&file, name](Index first, std::span<float> to) {
        const auto all = file.read<float>(name);
        std::copy_n(all.begin() + first, to.size(), to.begin());
      });
    writer.write(copy.folder / "model.safetensors");
    auto model = load_family<LlamaModel>(copy.folder.path);
    CAPTURE(dtype);
    CHECK(difference(weights(model), exact) <= precision);
    if (precision > 0) CHECK(difference(weights(model), exact) > 0);
  }
}

TEST_CASE("shards: a missing one is named, and an index that lies is found") {
  const SafetensorsFile file(fixture("llama") / "model.safetensors");
  const Copy copy("llama");
  std::filesystem::remove(copy.folder / "model.safetensors");
  CHECK(refusal(copy) ==
        "[hugging_face] 'DIR' has neither model.safetensors nor model.safetensors.index.json");
  write_plainly(copy.folder / "pytorch_model.bin", "");
  CHECK_THAT(refusal(copy), Catch::Matchers::Contains("pytorch_model.bin is not read"));

  SafetensorsWriter writers[2];
  json map = json::object();
  for (std::size_t i = 0; i < file.names().size(); ++i) {
    const auto& name = file.names()[i];
    writers[i % 2].add(name, file.shape(name), file.read<float>(name));
    map[name] = i % 2 == 0 ? "a.safetensors" : "b.safetensors";
  }
  writers[0].write(copy.folder / "a.safetensors");
  const auto index = [&](const json& weight_map) {
    write_plainly(copy.folder / "model.safetensors.index.json", json{{"weight_map", weight_map}}.dump());
  };
  index(map);
  CHECK(refusal(copy) ==
        "[hugging_face] 'DIR/model.safetensors.index.json' names shards that are missing: b.safetensors");
  writers[1].write(copy.folder / "b.safetensors");
  auto model = load_family<LlamaModel>(copy.folder.path);
  auto right = load_family<LlamaModel>(fixture("llama"));
  CHECK(weights(model) == weights(right));

  auto lie = map;
  lie[file.names()[0]] = "b.safetensors";
  index(lie);
  CHECK(refusal(copy) == "[hugging_face] 'DIR/model.safetensors.index.json' says that tensor " +
                             file.names()[0] + " is in b.safetensors, but it is not");
  lie[file.names()[0]] = "../outside.safetensors";
  index(lie);
  CHECK(refusal(copy) ==
        "[hugging_face] 'DIR/model.safetensors.index.json' names the shard "
        "'../outside.safetensors', expected a file of its folder");
  index(json::array());
  CHECK_THAT(refusal(copy), Catch::Matchers::Contains("is no index of shards"));
  write_plainly(copy.folder / "model.safetensors.index.json", "{}");
  CHECK_THAT(refusal(copy), Catch::Matchers::Contains("is no index of shards"));
}

TEST_CASE("a configuration far larger than its weights takes no memory") {
  const Copy copy("llama");
  auto& pool = Pool<CpuDevice>::instance();
  for (const auto& [field, value] : {std::pair<const char*, std::int64_t>{"vocab_size", 1 << 30},
                                     {"intermediate_size", 1 << 29},
                                     {"num_hidden_layers", 1 << 30},
                                     {"hidden_size", 1 << 28},
                                     {"head_dim", 1 << 28}}) {
    copy.change([&](json& c) { c[field] = value; });
    pool.reset_peak();
    const auto before = pool.statistics().peak_in_use;
    CHECK_THAT(refusal(copy), Catch::Matchers::Contains("describes a model of"));
    CHECK(pool.statistics().peak_in_use <= before + (1 << 20));
  }
  const Copy opt("opt");
  opt.change([](json& c) { c["max_position_embeddings"] = 1 << 30; });
  CHECK_THAT((refusal<Decoder<B, Opt>>(opt)), Catch::Matchers::Contains("describes a model of"));
}

TEST_CASE("damage anywhere in config.json is a FileError or another configuration, never anything else") {
  const Copy copy("llama");
  const std::string whole = contents(fixture("llama") / "config.json");
  const RandomKey key{7, 8};
  int refused = 0;
  for (std::uint64_t round = 0; round < 600; ++round) {
    const auto random = key.block(round);
    std::string bytes = whole;
    if (round % 4 == 0)
      bytes.resize(random[0] % whole.size());
    else
      for (std::uint32_t k = 0; k <= random[0] % 2; ++k)
        bytes[(random[1] + k * random[2]) % whole.size()] = random[3] % 2 == 0
                                                                ? static_cast<char>(random[2] >> 8 & 255)
                                                                : "0123456789-.e\"{}[],"[random[2] % 19];
    write_plainly(copy.folder / "config.json", bytes);
    INFO(bytes);
    try {
      (void)load_family<LlamaModel>(copy.folder.path);
    } catch (const FileError&) {
      ++refused;
    }
  }
  CHECK(refused > 300);
  CHECK(refused < 600);
}

TEST_CASE("a safetensors header of any stated length takes no more memory than the file") {
  const Folder folder("hugging_face");
  const auto path = folder / "model.safetensors";
  for (const std::uint64_t stated : {std::uint64_t{150'000'000}, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    write_plainly(path, std::string(reinterpret_cast<const char*>(&stated), 8) + "{}");
    std::filesystem::resize_file(path, 200'000'000);  // a hole, not bytes
    CHECK_THAT(message_of<FileError>([&] { const SafetensorsFile file(path); }),
               Catch::Matchers::Contains("header has " + std::to_string(stated) + " bytes"));
  }
}
