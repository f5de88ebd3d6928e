// Tokens that other files of a folder add to its tokenizer.json. All numbers are those of AutoTokenizer,
// transformers 5.23.
#include "catch.hpp"
#include "fixtures.hpp"

using namespace retort;
using namespace retort::test;
using Catch::Matchers::Contains;
using Ids = std::vector<TokenId>;

namespace {

struct Case {
  const char* what;
  const char* text;
  std::vector<std::pair<const char*, const char*>> files;
  Ids ids;
  TokenId vocabulary;
};

constexpr const char* config = "tokenizer_config.json";
constexpr const char* map = "special_tokens_map.json";
constexpr const char* text = "the <new> cat<pad2> <a>x";

}  // namespace

TEST_CASE("tokens of other files than tokenizer.json are added as transformers does") {
  const std::vector<Case> cases{
      {"added_tokens_decoder, with properties, whatever the ids",
       text,
       {{config,
         R"({"added_tokens_decoder": {"900": {"content": "<new>", "lstrip": true, "special": true}}})"}},
       {1, 427, 800, 393, 411, 424, 279, 327, 437, 272, 281, 393, 279, 312, 281, 335},
       801},
      {"in the order of ids",
       text,
       {{config,
         R"({"added_tokens_decoder": {"900": {"content": "<new>"}, "850": {"content": "<a>", "special": true}}})"}},
       {1, 427, 801, 411, 424, 279, 327, 437, 272, 281, 393, 800, 393, 335},
       802},
      {"a token that is there, with other properties",
       "a</s>  b",
       {{config, R"({"added_tokens_decoder": {"2": {"content": "</s>", "rstrip": true, "special": true}}})"}},
       {1, 398, 2, 410},
       800},
      {"a named token that is there keeps its properties",
       "a </s>  b",
       {{config,
         R"({"eos_token": {"content": "</s>", "rstrip": true, "lstrip": true, "__type": "AddedToken"}})"}},
       {1, 398, 393, 2, 393, 393, 410},
       800},
      {"a named token of the vocabulary is found in texts",
       "a b\u2581c c at</s>  b",
       {{config, R"({"pad_token": "\u2581c"})"}},
       {1, 398, 410, 411, 393, 411, 603, 2, 393, 393, 410},
       800},
      {"additional_special_tokens",
       text,
       {{config,
         R"({"additional_special_tokens": ["<new>", {"content": "<a>", "lstrip": true, "special": false}]})"}},
       {1, 427, 393, 800, 393, 411, 424, 279, 327, 437, 272, 281, 801, 335},
       802},
      {"extra_special_tokens",
       text,
       {{config, R"({"extra_special_tokens": ["<new>", "<a>"]})"}},
       {1, 427, 393, 800, 393, 411, 424, 279, 327, 437, 272, 281, 393, 801, 393, 335},
       802},
      {"extra_special_tokens count before additional_special_tokens",
       text,
       {{config, R"({"extra_special_tokens": ["<new>"], "additional_special_tokens": ["<a>"]})"}},
       {1, 427, 393, 800, 393, 411, 424, 279, 327, 437, 272, 281, 393, 279, 312, 281, 335},
       801},
      {"extra_special_tokens with names",
       text,
       {{config, R"({"extra_special_tokens": {"image_token": "<new>"}})"}},
       {1, 427, 393, 800, 393, 411, 424, 279, 327, 437, 272, 281, 393, 279, 312, 281, 335},
       801},
      {"a pad_token that is new",
       text,
       {{config, R"({"pad_token": "<pad2>"})"}},
       {1, 427, 393, 279, 325, 316, 334, 281, 411, 424, 800, 393, 393, 279, 312, 281, 335},
       801},
      {"special_tokens_map.json",
       text,
       {{map, R"({"pad_token": "<pad2>", "additional_special_tokens": ["<a>"]})"},
        {config, R"({"pad_token": "<x>"})"}},
       {1, 427, 393, 279, 325, 316, 334, 281, 411, 424, 800, 393, 393, 801, 393, 335},
       802},
      {"both files",
       text,
       {{config, R"({"additional_special_tokens": ["<new>"]})"},
        {map, R"({"extra_special_tokens": ["<a>"]})"}},
       {1, 427, 393, 800, 393, 411, 424, 279, 327, 437, 272, 281, 393, 801, 393, 335},
       802},
      {"added_tokens.json",
       text,
       {{"added_tokens.json", R"({"<new>": 900, "<a>": 801})"}},
       {1, 427, 801, 411, 424, 279, 327, 437, 272, 281, 800, 335},
       802},
      {"in the order: added_tokens.json, names, others",
       text,
       {{"added_tokens.json", R"({"<a>": 5})"},
        {config, R"({"additional_special_tokens": ["<new>"], "pad_token": "<pad2>"})"}},
       {1, 427, 393, 802, 393, 411, 424, 801, 393, 800, 335},
       803},
      {"beside added_tokens_decoder the older files are not read",
       text,
       {{config, R"({"added_tokens_decoder": {"2": {"content": "</s>", "special": true}}})"},
        {map, R"({"pad_token": "<pad2>"})"},
        {"added_tokens.json", R"({"<a>": 5})"}},
       {1, 427, 393, 279, 325, 316, 334, 281, 411, 424, 279, 327, 437, 272, 281, 393, 279, 312, 281, 335},
       800}};
  for (const Case& c : cases) {
    INFO(c.what);
    const Folder folder;
    fs::copy_file(tokenizer_folder("llama2") / "tokenizer.json", folder / "tokenizer.json");
    for (const auto& [name, content] : c.files) folder.write(name, content);
    const Tokenizer t = load_tokenizer(folder.path);
    CHECK(t.encode(c.text) == c.ids);
    CHECK(t.vocabulary() == c.vocabulary);
  }
}

TEST_CASE("new tokens whose order the files leave open are refused, one is added") {
  const Folder folder;
  fs::copy_file(tokenizer_folder("llama2") / "tokenizer.json", folder / "tokenizer.json");
  folder.write(config, R"({"image_token": "<new>", "eoi_token": "</s>", "add_bos_token": true})");
  CHECK(load_tokenizer(folder.path).id("<new>") == 800);
  folder.write(config, R"({"image_token": "<new>", "x_token": "<a>"})");
  CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
             Contains("field [\"x_token\"]: '<new>' and '<a>' are new tokens, and nothing says which of them "
                      "comes first"));
}

TEST_CASE("of a GPT2Tokenizer tokenizer_config.json says whether a text gets a space in front") {
  const Folder folder;
  json file = read_json(tokenizer_folder("llama3") / "tokenizer.json");
  const Ids with{700, 294, 274, 289}, without{700, 324, 68, 274, 289};
  const auto ids = [&](bool in_file, const char* settings, const char* model) {
    file["pre_tokenizer"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", in_file}, {"trim_offsets", true}, {"use_regex", true}};
    folder.write("tokenizer.json", file.dump());
    folder.write(config, settings);
    folder.write("config.json", model);
    return load_tokenizer(folder.path).encode("the cat");
  };
  for (const bool in_file : {false, true}) {
    for (const char* name : {"GPT2Tokenizer", "GPT2TokenizerFast"}) {
      const json named{{"tokenizer_class", name}};
      json off = named, on = named;
      off["add_prefix_space"] = false, on["add_prefix_space"] = true;
      CHECK(ids(in_file, named.dump().c_str(), "{}") == without);
      CHECK(ids(in_file, off.dump().c_str(), "{}") == without);
      CHECK(ids(in_file, on.dump().c_str(), "{}") == with);
    }
    // Without a class the model's type tells it.
    for (const char* type : {"gpt2", "opt", "gptj"})
      CHECK(ids(in_file, R"({"add_prefix_space": true})", json{{"model_type", type}}.dump().c_str()) == with);
    // For others the file counts.
    for (const char* other : {R"({"add_prefix_space": true})", R"({"add_prefix_space": false})",
                              R"({"add_prefix_space": true, "tokenizer_class": "PreTrainedTokenizerFast"})"})
      CHECK(ids(in_file, other, R"({"model_type": "llama"})") == (in_file ? with : without));
  }
}
