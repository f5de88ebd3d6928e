#include "catch.hpp"
#include "retort/eval/calibration.hpp"
#include "retort/eval/exposure.hpp"
#include "retort/eval/repetition.hpp"
#include "retort/eval/rewards.hpp"

using namespace retort;
using Ids = std::vector<std::int32_t>;

TEST_CASE("ROUGE-L is what rouge_score computes") {
  const auto check = [](const char* reference, const char* candidate, double expected) {
    CAPTURE(reference, candidate);
    CHECK(rouge_l_of_text(reference, candidate) == Approx(expected).epsilon(1e-14));
  };
  check("The cat sat on the mat.", "the cat is on the mat", 0.8333333333333334);
  check("a b c d e f", "f e d c b a", 0.16666666666666666);
  check("one two", "one two three four", 0.6666666666666666);
  check("Hello, World! 42", "hello world 42", 1.0);
  check("", "x", 0);
  check("x", "", 0);
  check("It's 3.5 miles, isn't it?", "its 3 5 miles isn t it", 0.7999999999999999);
  check("na\u00efve caf\u00e9", "naive cafe", 0);
  check("the the the", "the", 0.5);
  check("A quick brown fox jumps over the lazy dog", "The quick fox jumped over a lazy brown dog",
        0.5555555555555556);
}

TEST_CASE("final answers: after the mark, or else the last number") {
  const auto is = [](const char* text, double expected) {
    CAPTURE(text);
    REQUIRE(final_answer(text));
    CHECK(*final_answer(text) == Approx(expected));
  };
  is("48/2 = <<48/2=24>>24 clips.\n#### 72", 72);
  is("#### 1,234,567", 1234567);
  is("#### $12.50 a day", 12.5);
  is("#### -3", -3);
  is("#### -$3", -3);
  is("first #### 1 then #### 2", 2);
  is("She has 3 cats and 14 dogs.", 14);
  is("It costs $1,050.", 1050);
  is("1,2,3", 123);  // as the usual scorer reads it: commas between digits are dropped
  is("#### no number, but 7 before", 7);
  is("half is .5", 0.5);
  is("2.5.", 2.5);
  CHECK_FALSE(final_answer("none at all"));
  CHECK_FALSE(final_answer(""));
  CHECK_FALSE(final_answer("####"));
  CHECK(same_answer("#### 72.0", "so 72"));
  CHECK_FALSE(same_answer("#### 72", "#### 73"));
  CHECK_FALSE(same_answer("nothing", "nothing"));
}

TEST_CASE("calibration error worked out by hand") {
  // bin [.9, 1]: 2 answers of confidence .95, one right: |.5 - .95| * 2/4; bin [.5, .6): |1 - .5| * 1/4; [.1,
  // .2): |0 - .1|
  const std::vector<double> confidence{0.95, 0.95, 0.5, 0.1};
  const std::vector<std::uint8_t> right{1, 0, 1, 0};
  CHECK(expected_calibration_error(confidence, right) == Approx(0.45 / 2 + 0.5 / 4 + 0.1 / 4));
  CHECK(expected_calibration_error(std::vector{1.0}, std::vector<std::uint8_t>{1}) == 0);
  CHECK(expected_calibration_error({}, {}) == 0);
  CHECK_THROWS_AS(expected_calibration_error(std::vector{1.1}, std::vector<std::uint8_t>{1}), ValueError);
}

TEST_CASE("accumulated divergences and their excess, worked out by hand") {
  const std::vector<std::int32_t> offsets{0, 3, 4};
  const auto r = accumulated_divergence(std::vector{1.0, 2.0, 3.0, 5.0}, offsets);
  CHECK(r == std::vector{3.0, 4.0, 5.5});
  CHECK(excess_accumulated_error(r, std::vector{1.5, 4.0}) == std::vector{100.0, 0.0});
}

TEST_CASE("distinct n-grams and repetition") {
  Sequences s;
  s.push_back(Ids{1, 2, 1, 2, 1});
  s.push_back(Ids{1, 2});
  CHECK(distinct_ngrams(s, 1) == Approx(2.0 / 7));
  CHECK(distinct_ngrams(s, 2) == Approx(2.0 / 5));  // 12 21 12 21, 12
  CHECK(distinct_ngrams(s, 6) == 1);
  CHECK(repetition_rate(s, 2) == Approx(2.0 / 5));  // two of the first sequence's four
  CHECK(repetition_rate(s, 9) == 0);
  CHECK_THROWS_AS(distinct_ngrams(s, 0), ValueError);
}

TEST_CASE("rewards: lengths, exact answers, ROUGE-L to the prompt's reference") {
  Batch batch;
  for (const Ids& response : {Ids{}, Ids{7}, Ids{7, 2}, Ids{7, 2, 2, 2, 2}})
    batch.push_back(Ids{1}, response, static_cast<std::uint64_t>(batch.size()));
  CHECK(LengthBand{.low = 1, .high = 2, .slope = 4}(batch) == std::vector{0.75, 1.0, 1.0, 0.25});
  CHECK_THROWS_AS((LengthBand{.low = 3, .high = 2}(batch)), ValueError);
  const auto text = [](std::span<const std::int32_t> tokens) {
    std::string out;
    for (const auto t : tokens) out += std::to_string(t) + " ";
    return out;
  };
  CHECK(exact_answer_reward({"#### 7", "#### 7", "#### 7", "#### 2"}, text)(batch) ==
        std::vector{0.0, 1.0, 0.0, 1.0});
  const auto rouge = rouge_l_reward({"7", "7", "7 2", "2"}, text)(batch);
  CHECK(rouge[0] == 0);
  CHECK(rouge[1] == 1);
  CHECK(rouge[2] == 1);
  CHECK(rouge[3] == Approx(1.0 / 3));
  CHECK_THROWS_AS(rouge_l_reward({"7"}, text)(batch), ValueError);
}
