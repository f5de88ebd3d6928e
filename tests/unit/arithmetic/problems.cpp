#include "arithmetic/problems.hpp"

#include <set>

#include "arithmetic/data.hpp"
#include "catch.hpp"
#include "retort/eval/answers.hpp"

using namespace arithmetic;

TEST_CASE("generated solutions are right: every annotation, its repetition and the last line") {
  for (const int largest : {6, 60, 400})
    for (const int steps : {2, 3, 4})
      for (const Problem& problem : make_problems(3, 1500, {.largest = largest, .most_steps = steps})) {
        INFO(problem.question << '\n' << problem.answer);
        const auto wrong = problem_of_solution(problem.answer);
        if (wrong) FAIL(*wrong);
        const auto lines = std::ranges::count(problem.answer, '\n');
        REQUIRE(lines >= 2);
        REQUIRE(lines <= steps);
        REQUIRE(retort::final_answer(problem.answer) > 0);
        REQUIRE(problem.question.ends_with('?'));
      }
}

TEST_CASE("the check of solutions sees what is wrong") {
  CHECK(problem_of_solution("A 1+2=<<1+2=3>>3 b.\n#### 3") == std::nullopt);
  CHECK(problem_of_solution("A 1+2=<<1+2=4>>4 b.\n#### 4") == "'1+2=4' is wrong");
  CHECK(problem_of_solution("A 7/2=<<7/2=3>>3 b.\n#### 3") == "'7/2=3' is wrong");
  CHECK(problem_of_solution("A 1+2=<<1+2=3>>4 b.\n#### 3") == "the result of '1+2=3' is not repeated");
  CHECK(problem_of_solution("A 1+2=<<1+2=3>>3 b.\n#### 4") == "the last line is not the last result");
  CHECK(problem_of_solution("A <<1+=3>>3 b.\n#### 3") == "'1+=3' is no calculation");
  CHECK(problem_of_solution("A <<1+2=3") == "a calculation has no end");
  CHECK(problem_of_solution("#### 3") == "there is no calculation");
}

TEST_CASE("problems are a function of the seed, and a longer list begins with a shorter one") {
  const auto few = make_problems(5, 50), many = make_problems(5, 80), others = make_problems(6, 50);
  CHECK(std::equal(few.begin(), few.end(), many.begin()));
  CHECK(few != others);
  CHECK(few.front().question ==
        "Henry has 55 apples. He gives 21 apples to Clara. He loses half of the apples. How many apples does "
        "Henry have now?");
}

TEST_CASE("training, validation and test problems share no question") {
  const Texts texts = generated_texts(1, 4000, 300, 300, {});
  CHECK(texts.train.size() == 4000);
  CHECK(texts.valid.size() == 300);
  CHECK(texts.test.size() == 300);
  std::set<std::string> questions;
  for (const auto* part : {&texts.train, &texts.valid, &texts.test})
    for (const Problem& problem : *part) questions.insert(problem.question);
  CHECK(questions.size() == 4600);
}

TEST_CASE("limits out of range, and more problems than there are, are value errors") {
  CHECK_THROWS_WITH(make_problems(1, 5, {.largest = 5}),
                    "[problems] the largest number is 5, expected 6 to 1000");
  CHECK_THROWS_WITH(make_problems(1, 5, {.most_steps = 1}), "[problems] 1 steps, expected 2 to 4");
}
