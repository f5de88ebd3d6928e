#include "g2p/vocabulary.hpp"

#include <sstream>

#include "catch.hpp"

using namespace g2p;
using Ids = std::vector<std::int32_t>;

namespace {
const std::vector<Entry> entries{{"read", {{"r", "eh", "d"}, {"r", "iy", "d"}}}, {"a", {{"ax"}}}};
const Vocabulary vocabulary({"r", "eh", "d", "iy", "ax", "d"});  // sorted: ax d eh iy r
}  // namespace

TEST_CASE("ids: padding 0, eos 1, apostrophe and letters from 2, sorted phonemes from 29") {
  CHECK(vocabulary.size() == 34);
  CHECK(vocabulary.symbol(0) == "<pad>");
  CHECK(vocabulary.symbol(1) == "<eos>");
  CHECK(vocabulary.symbol(2) == "<'>");
  CHECK(vocabulary.symbol(3) == "<a>");
  CHECK(vocabulary.symbol(28) == "<z>");
  CHECK(vocabulary.symbol(29) == "ax");
  CHECK(vocabulary.symbol(33) == "r");
  CHECK_THROWS_WITH(vocabulary.symbol(34), "[vocabulary] id 34 was given, ids are 0 to 33");
  CHECK_THROWS_AS(vocabulary.symbol(-1), retort::ValueError);
}

TEST_CASE("words and pronunciations are encoded with eos and decoded without") {
  CHECK(vocabulary.encode_word("a'z") == Ids{3, 2, 28, 1});
  CHECK(vocabulary.encode(entries[0].pronunciations[0]) == Ids{33, 31, 30, 1});
  CHECK(vocabulary.decode(Ids{33, 31, 30, 1, 30, 30}) == "r eh d");
  CHECK(vocabulary.decode(Ids{33, 0, 3}) == "r <pad> <a>");
  CHECK(vocabulary.decode_word(Ids{3, 2, 28, 1}) == "a'z");
  CHECK(vocabulary.decode({}).empty());
}

TEST_CASE("a letter or phoneme that is not in the vocabulary is a value error that names it") {
  CHECK_THROWS_WITH(vocabulary.encode_word("x-ray"),
                    "[vocabulary] 'x-ray' has the character '-', only a-z and the apostrophe are known");
  CHECK_THROWS_WITH(vocabulary.encode(Pronunciation{"r", "zh"}),
                    "[vocabulary] 'zh' is none of the 5 phonemes of this vocabulary");
}

TEST_CASE("vocabularies are equal if their symbols are, whatever the order they came in") {
  CHECK(Vocabulary({"b", "a", "b"}) == Vocabulary({"a", "b"}));
  CHECK(Vocabulary({"a", "b"}) != Vocabulary({"a", "c"}));
  CHECK(Vocabulary(vocabulary.phonemes()) == vocabulary);
  std::istringstream in("READ  R EH1 D\nREAD(1)  R IY1 D\nA  AX0\n");
  CHECK(Vocabulary(read_dictionary(in, "words.txt")) == vocabulary);
}

TEST_CASE("training has an example for every pronunciation, evaluation one question for every word") {
  const retort::Batch pairs = training_pairs(entries, vocabulary);
  CHECK(pairs.size() == 3);
  CHECK(vocabulary.decode_word(pairs.prompts[1]) == "read");
  CHECK(vocabulary.decode(pairs.responses[1]) == "r iy d");
  CHECK(pairs.ids == std::vector<std::uint64_t>{0, 1, 2});
  CHECK_NOTHROW(pairs.check());

  const Questions asked = questions(entries, vocabulary);
  REQUIRE(asked.words.size() == 2);
  CHECK(vocabulary.decode_word(asked.words[0]) == "read");
  CHECK(asked.references[0].size() == 2);
  CHECK(asked.references[1].size() == 1);
}
