// Ids and texts against the reference: the Hugging Face tokenizers and the SentencePiece library.
#include <span>

#include "catch.hpp"
#include "fixtures.hpp"
#include "retort/text/token_stream.hpp"

using namespace retort;
using namespace retort::test;

namespace {

const std::vector<std::string> fixtures = {"gpt2",     "llama3", "gpt4o",        "smollm",      "qwen2",
                                           "roberta",  "llama2", "llama2_first", "t5",          "t5_older",
                                           "nfkc",     "nfd",    "nfkd",         "contiguous",  "next",
                                           "previous", "added",  "fused",        "whole_words", "ties"};

std::uint64_t fnv(std::span<const TokenId> ids) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const TokenId id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ ((static_cast<std::uint32_t>(id) >> shift) & 0xFF)) * 0x100000001B3;
  return hash;
}

void compare(const std::string& name, bool with_special) {
  const Tokenizer tokenizer = load_tokenizer(tokenizer_folder(name));
  const json expected = read_json(tokenizer_folder(name) / "expected.json");
  REQUIRE(expected["encode"].size() > 90);
  for (const auto& entry : expected["encode"]) {
    const std::string text = text_of(entry), clean = utf8::repaired(text);
    const auto ids = entry["ids"].get<std::vector<TokenId>>();
    INFO(name << ": " << json(clean).dump());
    CHECK(tokenizer.encode(text) == ids);
    CHECK(tokenizer.encode(text) == ids);  // once more: now from the cache
    CHECK(tokenizer.decode(ids) == entry.value("decoded", clean));
    if (with_special) CHECK(tokenizer.decode(ids, false) == entry.value("all", clean));
  }
  for (const auto& entry : expected["decode"]) {
    const auto ids = entry["ids"].get<std::vector<TokenId>>();
    INFO(name << ": " << entry["ids"].dump());
    CHECK(tokenizer.decode(ids) == entry["decoded"].get<std::string>());
    if (with_special) CHECK(tokenizer.decode(ids, false) == entry["all"].get<std::string>());
  }
}

}  // namespace

TEST_CASE("ids and texts of every kind of tokenizer.json equal the reference's") {
  for (const auto& name : fixtures) compare(name, true);
}

TEST_CASE("ids and texts of a SentencePiece model equal the library's") {
#ifdef RETORT_SENTENCEPIECE
  compare("sentencepiece", false);
#else
  RETORT_SKIP("built without SentencePiece");
#endif
}

TEST_CASE("tokens that arrive one by one give whole characters, together the decoded text") {
  for (const auto& name : fixtures) {
    const Tokenizer tokenizer = load_tokenizer(tokenizer_folder(name));
    const json expected = read_json(tokenizer_folder(name) / "expected.json");
    for (const char* list : {"encode", "decode"})
      for (const auto& entry : expected[list]) {
        const auto ids = entry["ids"].get<std::vector<TokenId>>();
        TokenStream stream(tokenizer);
        std::string all;
        for (const TokenId id : ids) {
          const std::string piece = stream.push(id);
          INFO(name << ": " << entry["ids"].dump());
          REQUIRE(utf8::valid_prefix(piece) == piece.size());
          all += piece;
        }
        all += stream.finish();
        INFO(name << ": " << entry["ids"].dump());
        CHECK(all == tokenizer.decode(ids));
      }
  }
}

TEST_CASE("a skipped special token between the bytes of a character does not tear it") {
  const Tokenizer tokenizer = load_tokenizer(tokenizer_folder("llama2"));
  const auto& codec = tokenizer.codec();
  const auto id = [&](const char* token) { return codec.id(token).value(); };
  TokenStream stream(tokenizer);
  CHECK(stream.push(id("<0xE4>")).empty());
  CHECK(stream.push(id("</s>")).empty());
  CHECK(stream.push(id("<0xBD>")).empty());
  CHECK(stream.push(id("</s>")).empty());
  CHECK(stream.push(id("<0xA0>")).empty());
  CHECK(stream.push(id("a")) ==
        "\u4F60"
        "a");
  CHECK(stream.finish().empty());
}

TEST_CASE("2,400 real lines have the reference's ids") {
  const auto data = data_folder();
  if (!data) RETORT_SKIP("no real data: set RETORT_DATA to its folder");
  const json expected = read_json(tokenizer_folder("real_lines.json"));
  std::vector<std::string> lines;
  for (const auto& source : expected["sources"]) {
    const auto path = *data / source[0].get<std::string>();
    if (!fs::exists(path)) RETORT_SKIP("no " + path.string());
    std::ifstream in(path, std::ios::binary);
    std::string line;
    for (int i = 0; i < source[1].get<int>() && std::getline(in, line); ++i) lines.push_back(line);
  }
  REQUIRE(lines.size() == 2400);
  const auto block = expected["block"].get<std::size_t>();
  for (const auto& [name, digests] : expected["digests"].items()) {
    const bool from_data = name.starts_with("data/");
#ifndef RETORT_SENTENCEPIECE
    if (name.ends_with(".model")) continue;
#endif
    const Tokenizer tokenizer = load_tokenizer(from_data ? *data / name.substr(5) : tokenizer_folder(name));
    REQUIRE(digests.size() * block == lines.size());
    for (std::size_t i = 0; i < digests.size(); ++i) {
      std::vector<TokenId> ids;
      for (std::size_t k = 0; k < block; ++k) {
        const auto more = tokenizer.encode(lines[i * block + k]);
        ids.insert(ids.end(), more.begin(), more.end());
      }
      INFO(name << ", lines from " << i * block);
      CHECK(fmt::format("{:016x}", fnv(ids)) == digests[i].get<std::string>());
    }
  }
}
