// Folders: what is found, what is read, and what is said of faults.
#include <set>
#include <thread>

#include "catch.hpp"
#include "fixtures.hpp"

using namespace retort;
using namespace retort::test;
using Catch::Matchers::Contains;

namespace {

// A word-level BPE as small as can be.
json small() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 6, "content": "<end>", "special": true, "normalized": false, "lstrip": false,
                      "rstrip": false, "single_word": false}],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}]},
    "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "unk_token": null, "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "ca": 5},
              "merges": ["a b", ["ab", "c"], "c a"]}
  })");
}

Tokenizer load(const Folder& folder, const json& file) {
  folder.write("tokenizer.json", file.dump());
  return load_tokenizer(folder.path);
}

using Ids = std::vector<TokenId>;

}  // namespace

TEST_CASE("merges go by rank, the leftmost of equals first") {
  const Folder folder;
  const Tokenizer t = load(folder, small());
  CHECK(t.encode("abc") == Ids{4});
  CHECK(t.encode("cab") == Ids{2, 3});  // "a b" before "c a"
  CHECK(t.encode("cac") == Ids{5, 2});
  CHECK(t.encode("ABC <end> ab") == Ids{4, 6, 3});
  CHECK(t.encode("axb") == Ids{3});  // no token, no unknown token: dropped, and the rest joins
  CHECK(t.encode("").empty());
  CHECK(t.decode(Ids{4, 6}) == "abc");
  CHECK(t.decode(Ids{4, 6}, false) == "abc<end>");
  CHECK(t.decode(Ids{4, 1000}) == "abc");  // a row of padding
  CHECK(t.decode(Ids{}).empty());
  CHECK_THROWS_AS(t.decode(Ids{-1}), ValueError);
  CHECK(t.vocabulary() == 7);
  CHECK(t.token(3) == "ab");
  CHECK(t.token(6) == "<end>");
  CHECK_FALSE(t.token(7));
  CHECK(t.id("<end>") == 6);
  CHECK_FALSE(t.id("x"));
}

TEST_CASE("text without pre-tokenizer is cut at visible spaces only where no merge crosses them") {
  const Folder folder;
  json file = small();
  file["pre_tokenizer"] = nullptr;
  file["added_tokens"] = json::array();
  const std::string space = "\u2581";
  file["model"]["vocab"] = {{"a", 0}, {space, 1}, {"a" + space, 2}, {space + "a", 3}, {space + space, 4}};
  file["model"]["merges"] = {"a " + space, space + " a"};
  CHECK(load(folder, file).encode("a" + space + "a") == Ids{2, 0});
  file["model"]["merges"] = {space + " " + space, space + " a"};
  CHECK(load(folder, file).encode("a" + space + "a" + space + space + space + "a") == Ids{0, 3, 4, 3});
}

TEST_CASE("what is not supported in tokenizer.json is an error that names it") {
  const Folder folder;
  const auto refusal = [&](const char* pointer, const json& value) {
    json file = small();
    file[json::json_pointer(pointer)] = value;
    return message_of<FileError>([&] { load(folder, file); });
  };
  const std::string file = "'" + (folder.path / "tokenizer.json").string() + "'";
  CHECK(refusal("/model/type", "WordPiece") ==
        "[tokenizer] " + file + ", field model: the model 'WordPiece' is not supported");
  CHECK(refusal("/normalizer/type", "BertNormalizer") ==
        "[tokenizer] " + file + ", field normalizer: the normalizer 'BertNormalizer' is not supported");
  CHECK_THAT(
      refusal("/pre_tokenizer/pretokenizers/0/type", "UnicodeScripts"),
      Contains("field pre_tokenizer.pretokenizers[0]: the pre-tokenizer 'UnicodeScripts' is not supported"));
  CHECK_THAT(refusal("/decoder/type", "CTC"), Contains("field decoder: the decoder 'CTC' is not supported"));
  CHECK_THAT(refusal("/post_processor", {{"type", "Other"}}),
             Contains("the post-processor 'Other' is not supported"));
  CHECK_THAT(refusal("/model/continuing_subword_prefix", "##"),
             Contains("field model.continuing_subword_prefix"));
  CHECK_THAT(refusal("/model/dropout", 0.1), Contains("field model.dropout: dropout is not supported"));
  CHECK_THAT(refusal("/version", "2.0"), Contains("field version: version '2.0' is not supported, 1.0 is"));
  CHECK_THAT(
      refusal("/normalizer", {{"type", "Replace"}, {"pattern", {{"Regex", "\\h"}}}, {"content", ""}}),
      Contains("field normalizer.pattern.Regex: [regex] '\\h' has '\\h' at byte 0, which is not supported"));
}

TEST_CASE("what is wrong in tokenizer.json is an error that names file and field") {
  const Folder folder;
  const auto refusal = [&](const char* pointer, const json& value) {
    json file = small();
    file[json::json_pointer(pointer)] = value;
    return message_of<FileError>([&] { load(folder, file); });
  };
  CHECK_THAT(refusal("/model/vocab/ab", -1),
             Contains("field model.vocab[\"ab\"]: it is -1, expected a number from 0 to"));
  CHECK_THAT(refusal("/model/vocab/ab", 0),
             Contains("field model.vocab[\"ab\"]: [vocabulary] id 0 is that of 'a' and 'ab'"));
  CHECK_THAT(refusal("/model/vocab/ab", 3.5), Contains("expected a whole number"));
  CHECK_THAT(refusal("/model/vocab/ab", 18446744073709551615u), Contains("expected a number from 0 to"));
  CHECK_THAT(refusal("/model/merges/0", "a b c"),
             Contains("field model.merges[0]: it is \"a b c\", expected two tokens"));
  CHECK_THAT(refusal("/model/merges/0", "a x"),
             Contains("field model.merges[0]: [bpe] merge 'a x': 'x' is not in the vocabulary"));
  CHECK_THAT(refusal("/model/merges/0", "b c"), Contains("'bc' is not in the vocabulary"));
  CHECK_THAT(refusal("/model/unk_token", "?"),
             Contains("field model: [bpe] the unknown token '?' is not in the vocabulary"));
  CHECK_THAT(refusal("/model", nullptr), Contains("'model' is missing"));
  CHECK_THAT(refusal("/added_tokens/0/id", 2),
             Contains("the added token '<end>' cannot have the id 2: that is 'c'"));
  CHECK_THAT(refusal("/added_tokens/0/content", "ab"),
             Contains("the added token 'ab' cannot have the id 6: in the vocabulary it has 3"));
  CHECK_THAT(refusal("/added_tokens/0/lstrip", "no"),
             Contains("field added_tokens[0].lstrip: it is \"no\", expected true or false"));
  CHECK_THAT(
      refusal(
          "/pre_tokenizer",
          {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}, {"invert", false}}),
      Contains("field pre_tokenizer.pattern.Regex: [regex] '(' is no pattern"));
  CHECK_THAT(
      refusal("/pre_tokenizer",
              {{"type", "Split"}, {"pattern", {{"String", "x"}}}, {"behavior", "Around"}, {"invert", false}}),
      Contains("field pre_tokenizer.behavior: it is \"Around\", expected Isolated"));
  CHECK_THAT(refusal("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}),
             Contains("field normalizer.precompiled_charsmap: [charsmap]"));
  json deep = {{"type", "Lowercase"}};
  for (int i = 0; i < 40; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  CHECK_THAT(refusal("/normalizer", deep), Contains("sequences are nested too deeply"));
  folder.write("tokenizer.json", "{\"version\": ");
  CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
             Contains("tokenizer.json' is not JSON"));
}

TEST_CASE("JSON nested a million deep is an error in any file of a folder, and long values are cut short") {
  const Folder folder;
  const json tokenizer = small();
  folder.write("tokenizer.json", tokenizer.dump());
  const std::string deep = std::string(1000000, '[') + std::string(1000000, ']');
  const auto refusal = [&] { return message_of<FileError>([&] { (void)load_tokenizer(folder.path); }); };
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
                           "config.json", "tokenizer.json"}) {
    folder.write(name, R"({"eos_token": )" + deep + R"(, "eos_token_id": )" + deep + "}");
    CHECK(refusal() == fmt::format("[tokenizer] '{}' is nested too deeply", (folder.path / name).string()));
    folder.write(name, deep);
    CHECK_THAT(refusal(), Contains("is nested too deeply"));
    fs::remove(folder.path / name);
    folder.write("tokenizer.json", tokenizer.dump());
  }
  fs::remove(folder.path / "tokenizer.json");
  folder.write("merges.txt", "");
  folder.write("vocab.json", "{\"a\": " + deep + "}");
  CHECK_THAT(refusal(), Contains("vocab.json' is nested too deeply"));

  std::string longest;
  for (int i = 0; i < 1000; ++i) longest += "\u00E4";
  folder.write("vocab.json", json{{longest, longest}}.dump());
  const std::string message = refusal();
  CHECK(message.size() < 300);
  CHECK(utf8::valid_prefix(message) == message.size());
  CHECK_THAT(message, Contains("..., expected"));
}

TEST_CASE("a tokenizer.json with any value missing or of another type loads or is a FileError") {
  const Folder folder;
  for (const char* name : {"t5", "added"}) {
    json whole = read_json(tokenizer_folder(name) / "tokenizer.json");
    // Tokens and merges by the thousand are all alike: a few are enough.
    std::vector<json::json_pointer> places;
    const json flat = whole.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      json::json_pointer place(pointer);
      const bool bulk = pointer.find("/vocab/") != pointer.npos || pointer.find("/merges/") != pointer.npos;
      if (bulk && std::hash<std::string>{}(pointer) % 200 != 0) continue;
      for (; !place.empty(); place = place.parent_pointer()) places.push_back(place);
    }
    int faults = 0, tried = 0;
    std::set<std::string> seen;
    for (const auto& place : places) {
      if (!seen.insert(place.to_string()).second) continue;
      for (const json& value : {json(nullptr), json(-5), json("\u0001x")}) {
        json damaged = whole;
        damaged[place] = value;
        folder.write("tokenizer.json", damaged.dump());
        ++tried;
        try {
          const Tokenizer t = load_tokenizer(folder.path);
          (void)t.decode(t.encode("Hello, caf\u00E9 \u4E16\u754C 12 <s> \xFF"));
        } catch (const FileError& error) {
          ++faults;
          if (std::string_view(error.what()).find("tokenizer.json'") == std::string_view::npos)
            FAIL(error.what());
        } catch (const ValueError&) {
          // A vocabulary that lacks what a text needs.
        }
      }
    }
    INFO(name << ": " << tried << " tried, " << faults << " refused");
    CHECK(tried > 150);
    CHECK(faults > tried / 2);
  }
}

TEST_CASE("a file cut off anywhere is a FileError") {
  const Folder folder;
  const std::string whole = contents(tokenizer_folder("added") / "tokenizer.json");
  for (std::size_t size = 0; size < whole.size(); size += 131) {
    folder.write("tokenizer.json", whole.substr(0, size));
    REQUIRE_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
                 Contains("tokenizer.json' is not JSON"));
  }
}

TEST_CASE("a missing folder, an empty one and an unreadable file are FileErrors") {
  const Folder folder;
  CHECK(message_of<FileError>([&] { (void)load_tokenizer(folder.path / "no"); }) ==
        fmt::format("[tokenizer] '{}' does not exist", (folder.path / "no").string()));
  CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
             Contains("has no tokenizer.json, no vocab.json with merges.txt and no *.model"));
  fs::create_directory(folder.path / "tokenizer.json");
  CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }), Contains("Is a directory"));
}

TEST_CASE("merges.txt: faults name the line, a missing newline and Windows' line ends are none") {
  const Folder folder;
  folder.write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  folder.write("merges.txt", "#version: 0.2\r\na b");
  CHECK(load_tokenizer(folder.path).encode("ab") == Ids{2});
  for (const auto& [text, said] : std::vector<std::pair<const char*, const char*>>{
           {"#version: 0.2\na b\nab\n", "merges.txt', line 3: 'ab', expected two tokens"},
           {"a b c\n", "line 1: 'a b c', expected two tokens"},
           {"a b\n\na b\n", "line 2: '', expected two tokens"},
           {"b a\n", "line 1: [bpe] merge 'b a': 'ba' is not in the vocabulary"}}) {
    folder.write("merges.txt", text);
    CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }), Contains(said));
  }
  folder.write("vocab.json", "[]");
  CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
             Contains("vocab.json': it is [], expected an object"));
}

TEST_CASE("special ids come from the folder's files, and OPT's settings put its token in front") {
  const Folder folder;
  folder.write("vocab.json", R"({"a": 0, "<pad>": 1, "</s>": 2, "b": 3, "ab": 4})");
  folder.write("merges.txt", "a b\n");
  folder.write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "</s>", "pad_token": null,
    "eos_token": {"content": "</s>", "lstrip": false}})");
  folder.write("special_tokens_map.json", R"({"pad_token": "<pad>"})");
  folder.write("generation_config.json", R"({"eos_token_id": [2, 4]})");
  folder.write("added_tokens.json", R"({"<new>": 5})");
  const Tokenizer t = load_tokenizer(folder.path);
  CHECK(t.bos() == 2);
  CHECK(t.eos() == 2);
  CHECK(t.pad() == 1);
  CHECK_FALSE(t.unk());
  CHECK(t.stop() == Ids{2, 4});
  CHECK(t.vocabulary() == 6);
  CHECK(t.encode("ab</s><new>a") == Ids{2, 4, 2, 5, 0});
  CHECK(t.encode("ab", false) == Ids{4});
  CHECK(t.encode("") == Ids{2});
  CHECK(t.decode(Ids{2, 4, 5}) == "ab<new>");
  CHECK(t.with_ends({{}, {3}}).encode("ab") == Ids{4, 3});
  folder.write("special_tokens_map.json", R"({"pad_token": "<none>"})");
  CHECK(load_tokenizer(folder.path).pad() == 6);  // a new token
}

TEST_CASE("GPT-2's files without a word about special tokens have its one") {
  const Folder folder;
  fs::copy_file(tokenizer_folder("gpt2") / "vocab.json", folder.path / "vocab.json");
  fs::copy_file(tokenizer_folder("gpt2") / "merges.txt", folder.path / "merges.txt");
  const Tokenizer t = load_tokenizer(folder.path);
  CHECK(t.eos() == t.id("<|endoftext|>"));
  CHECK(t.stop() == Ids{*t.eos()});
  CHECK(t.encode("<|endoftext|>") == Ids{*t.eos()});
  CHECK(same_tokens(t, load_tokenizer(tokenizer_folder("gpt2"))));
}

TEST_CASE("tokenizers are the same by content, not by file or name") {
  const Folder folder;
  const Tokenizer original = load(folder, small());
  CHECK(same_tokens(original, original));
  const auto changed = [&](const char* pointer, const json& value) {
    json file = small();
    file[json::json_pointer(pointer)] = value;
    return load(folder, file);
  };
  CHECK(same_tokens(original, changed("/padding", 7)));
  CHECK(same_tokens(original, changed("/model/merges/0", json{"a", "b"})));
  const auto copy =
      changed("/post_processor", {{"type", "BertProcessing"}, {"cls", {"a", 0}}, {"sep", {"b", 1}}});
  CHECK(copy.encode("c") == Ids{0, 2, 1});
  CHECK(same_tokens(original, copy));
  CHECK(original.digest() == copy.digest());
  json swapped = small()["model"]["vocab"];
  swapped["a"] = 1, swapped["b"] = 0;
  CHECK_FALSE(same_tokens(original, changed("/model/vocab", swapped)));
  CHECK(original.digest() != changed("/model/vocab", swapped).digest());
  CHECK_FALSE(same_tokens(original, changed("/model/merges", {"c a", "a b", "ab c"})));
  CHECK_FALSE(same_tokens(original, changed("/normalizer", nullptr)));
  CHECK_FALSE(same_tokens(original, changed("/pre_tokenizer", nullptr)));
  CHECK_FALSE(same_tokens(original, changed("/added_tokens/0/rstrip", true)));
  CHECK_FALSE(same_tokens(original, load_tokenizer(tokenizer_folder("t5"))));
}

TEST_CASE("a model with too few rows does not fit a tokenizer, one with rows of padding does") {
  const Folder folder;
  const Tokenizer t = load(folder, small());
  check_vocabulary(t, 7);
  check_vocabulary(t, 64);
  CHECK(message_of<ValueError>([&] { check_vocabulary(t, 6); }) ==
        "[tokenizer] the model has 6 rows for tokens, the tokenizer's largest id is 6: they do not belong "
        "together");
}

TEST_CASE("threads may share a tokenizer") {
  const Tokenizer t = load_tokenizer(tokenizer_folder("llama3"));
  const json expected = read_json(tokenizer_folder("llama3") / "expected.json");
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong)
    threads.emplace_back([&] {
      for (const auto& entry : expected["encode"])
        count += t.encode(text_of(entry)) != entry["ids"].get<Ids>();
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

#ifdef RETORT_SENTENCEPIECE
TEST_CASE("a SentencePiece model: special ids, T5's extra tokens, faults") {
  const Folder folder;
  const std::string model = contents(tokenizer_folder("sentencepiece") / "spiece.model");
  folder.write("any.model", model);
  const Tokenizer t = load_tokenizer(folder.path);
  CHECK(t.pad() == 0);
  CHECK(t.eos() == 1);
  CHECK(t.unk() == 2);
  CHECK_FALSE(t.bos());
  CHECK(t.encode("") == Ids{1});
  CHECK(t.token(1) == "</s>");
  CHECK(same_tokens(t, load_tokenizer(folder.path / "any.model")));

  folder.write("tokenizer_config.json", R"({"extra_ids": 10, "eos_token": "</s>"})");
  const Tokenizer extra = load_tokenizer(folder.path);
  CHECK(extra.vocabulary() == t.vocabulary() + 10);
  CHECK(extra.id("<extra_id_0>") == extra.vocabulary() - 1);
  const auto ids = extra.encode("the <extra_id_0> world</s>");
  CHECK(std::ranges::count(ids, *extra.id("<extra_id_0>")) == 1);
  CHECK(std::ranges::count(ids, 1) == 2);
  CHECK(extra.decode(ids, false).find("<extra_id_0>") != std::string::npos);
  CHECK(extra.decode(ids).find("extra") == std::string::npos);
  CHECK_FALSE(same_tokens(t, extra));

  for (std::size_t size = 0; size < model.size(); size += size < 100 ? 1 : 211) {
    folder.write("any.model", model.substr(0, size));
    INFO(size << " of " << model.size() << " bytes");
    CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
               Contains("any.model': [sentencepiece]"));
  }
  folder.write("other.model", model);
  CHECK_THAT(message_of<FileError>([&] { (void)load_tokenizer(folder.path); }),
             Contains("has 2 *.model files: name the one that is meant"));
}
#endif
