#include "g2p/metrics.hpp"

#include "catch.hpp"

using namespace g2p;
using Ids = std::vector<std::int32_t>;

namespace {
retort::Sequences make(const std::vector<Ids>& rows) {
  retort::Sequences out;
  for (const Ids& row : rows) out.push_back(row);
  return out;
}
constexpr std::int32_t eos = Vocabulary::eos;
}  // namespace

TEST_CASE("a word is right if it equals any of its pronunciations") {
  const auto references = make({{30, 31, 32, eos}, {30, 33, 32, eos}});
  CHECK(score_word(Ids{30, 33, 32, eos}, references) == Score{1, 0, 0, 3});
  CHECK(score_word(Ids{30, 31, 32, eos}, references) == Score{1, 0, 0, 3});
  CHECK(score_word(Ids{30, 34, 32, eos}, references) == Score{1, 1, 1, 3});
}

TEST_CASE("errors are counted against the nearest pronunciation and its length") {
  const auto references = make({{30, 31, 32, 33, 34, eos}, {40, 41, eos}});
  CHECK(score_word(Ids{40, 41, 42, eos}, references) == Score{1, 1, 1, 2});
  CHECK(score_word(Ids{30, 31, 32, eos}, references) == Score{1, 1, 2, 5});
  CHECK(score_word(Ids{eos}, references) == Score{1, 1, 2, 2});
}

TEST_CASE("what comes after the first eos does not count, and a missing eos is no error") {
  const auto references = make({{30, 31, eos}});
  CHECK(score_word(Ids{30, 31, eos, 35, 36}, references).wrong_words == 0);
  CHECK(score_word(Ids{30, 31}, references).wrong_words == 0);
  CHECK(score_word(Ids{30, 31, Vocabulary::pad}, references) ==
        Score{1, 1, 1, 2});  // padding is a symbol like any
}

TEST_CASE("rates of a set are ratios of sums") {
  const std::vector<retort::Sequences> references{make({{30, 31, 32, eos}}), make({{40, eos}}),
                                                  make({{50, 51, eos}})};
  const Score s = score(make({{30, 31, 32, eos}, {41, 42, eos}, {50, eos}}), references);
  CHECK(s == Score{3, 2, 3, 6});
  CHECK(s.wer() == Approx(2.0 / 3));
  CHECK(s.per() == Approx(0.5));
  CHECK(Score{}.wer() == 0);
  CHECK(Score{}.per() == 0);
}

TEST_CASE("scores of the parts of a set add up to the score of the set") {
  const std::vector<retort::Sequences> references{make({{30, 31, eos}}), make({{40, eos}, {41, eos}})};
  const auto hypotheses = make({{30, eos}, {41, eos}});
  Score sum = score_word(hypotheses[0], references[0]);
  sum += score_word(hypotheses[1], references[1]);
  CHECK(sum == score(hypotheses, references));
}

TEST_CASE("a word without a reference and a wrong number of hypotheses are value errors") {
  CHECK_THROWS_AS(score_word(Ids{30}, retort::Sequences{}), retort::ValueError);
  CHECK_THROWS_WITH(score(make({{30}}), {}), "[score] 1 hypotheses were given for 0 words");
}
