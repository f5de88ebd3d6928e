#include "retort/core/sparse_targets.hpp"

#include "catch.hpp"

using namespace retort;
using retort::test::message_of;

namespace {

/// Responses of 2, 0 and 1 tokens; three tokens of five a row.
SparseTargets three() {
  const auto l = [](double p) { return std::log(p); };
  return {.k = 3,
          .vocabulary = 5,
          .temperature = 2,
          .ids = {4, 0, 1, 2, 3, 4, 0, 1, 2},
          .log_p = {l(.5), l(.2), l(.1), l(.4), l(.3), l(.3), l(.9), l(.05), l(.03)},
          .log_tail = {l(.2), -HUGE_VAL, l(.02)},
          .offsets = {0, 2, 2, 3}};
}

std::string complaint(void (*change)(SparseTargets&)) {
  auto targets = three();
  change(targets);
  return message_of<ValueError>([&] { targets.check(); });
}

}  // namespace

TEST_CASE("targets are selected by response, with their rows") {
  const auto all = three();
  CHECK(all.size() == 3);
  CHECK(all.rows() == 3);
  CHECK(all.length(0) == 2);
  CHECK(all.length(1) == 0);
  CHECK(all.slice(0, 3) == all);
  const auto some = all.select(std::vector{2, 1, 2, 0});
  CHECK(some.offsets == std::vector<std::int32_t>{0, 1, 1, 2, 4});
  CHECK(some.ids == std::vector<std::int32_t>{0, 1, 2, 0, 1, 2, 4, 0, 1, 2, 3, 4});
  CHECK(some.log_tail == std::vector{std::log(.02), std::log(.02), std::log(.2), -HUGE_VAL});
  CHECK(some.temperature == 2);
  some.check();
  CHECK(all.slice(1, 1).size() == 0);
  CHECK(message_of<ShapeError>([&] { (void)all.slice(2, 4); }) ==
        "[SparseTargets] responses [2, 4) were asked for, but there are 3");
  CHECK(message_of<ShapeError>([&] { (void)all.length(3); }) ==
        "[SparseTargets] response 3 was asked for, but there are 3");
}

TEST_CASE("targets of different teachers do not follow each other") {
  auto all = three();
  auto other = three();
  other.temperature = 1;
  CHECK(message_of<ValueError>([&] { all.append(other, std::vector{0}); }) ==
        "[SparseTargets] targets of k 3, vocabulary 5 and temperature 1 cannot follow those of k 3, "
        "vocabulary 5 and temperature 2");
}

TEST_CASE("fewer tokens a row: the others join the tail") {
  const auto one = three().top(1);
  one.check();
  CHECK(one.ids == std::vector<std::int32_t>{4, 2, 0});
  for (const auto& [row, tail] : {std::pair{0, .5}, {1, .6}, {2, .1}})
    CHECK(one.log_tail[std::size_t(row)] == Approx(std::log(tail)).epsilon(1e-14));
  CHECK(one.log_p == std::vector{std::log(.5), std::log(.4), std::log(.9)});
  CHECK(three().top(3) == three());
  auto remote = three();
  remote.log_tail[0] = -2000;  // exp is 0
  CHECK(remote.top(3).log_tail[0] == -2000);
  for (const Index k : {0, 4}) CHECK_THROWS_AS(three().top(k), ValueError);
}

TEST_CASE("rows are scaled to a sum of 1") {
  auto rounded = three();
  for (double& x : rounded.log_p) x += 0.01;
  for (double& x : rounded.log_tail) x += 0.01;
  rounded.normalise();
  for (std::size_t i = 0; i < rounded.log_p.size(); ++i)
    CHECK(rounded.log_p[i] == Approx(three().log_p[i]).epsilon(1e-13));
  CHECK(rounded.log_tail[1] == -HUGE_VAL);
}

TEST_CASE("targets that no teacher gives are refused") {
  using S = SparseTargets;
  const std::string who = "[SparseTargets] ";
  CHECK(complaint([](S&) {}) == "no error");
  CHECK(complaint([](S& s) { s.k = 0; }) ==
        who + "k 0, vocabulary 5 and temperature 2, expected 1 <= k <= vocabulary and temperature > 0");
  CHECK(complaint([](S& s) { s.vocabulary = 2; }).find("k 3, vocabulary 2") != std::string::npos);
  CHECK(complaint([](S& s) { s.temperature = 0; }).find("temperature 0") != std::string::npos);
  CHECK(complaint([](S& s) { s.ids.pop_back(); }) ==
        who + "8 tokens and 9 log-probabilities for 3 rows of k 3");
  CHECK(complaint([](S& s) { s.log_p.pop_back(); }) ==
        who + "9 tokens and 8 log-probabilities for 3 rows of k 3");
  for (const auto change : {+[](S& s) {
                              s.offsets = {0, 2, 1, 3};
                            },
                            +[](S& s) { s.offsets.pop_back(); }, +[](S& s) { s.offsets.clear(); },
                            +[](S& s) { s.offsets[0] = 1; }})
    CHECK(complaint(change) == who + "the offsets do not ascend from 0 to the number of rows, 3");
  CHECK(complaint([](S& s) { s.ids[4] = 5; }) == who + "token 5 of row 1 is outside the vocabulary of 5");
  CHECK(complaint([](S& s) { s.ids[4] = -1; }) == who + "token -1 of row 1 is outside the vocabulary of 5");
  CHECK(complaint([](S& s) { s.ids[4] = 2; }) == who + "row 1 has the token 2 twice");
  CHECK(complaint([](S& s) { s.log_tail[0] = -HUGE_VAL; }) ==
        who + "the probabilities of row 0 and their tail add up to 0.8, expected 1");
  CHECK(complaint([](S& s) { s.log_p[0] = std::nan(""); }).find("add up to nan") != std::string::npos);
}
