#include "retort/data/batches.hpp"

#include <map>
#include <set>

#include "catch.hpp"

using namespace retort;

namespace {
// Example i: prompt {i}, response {i, i}.
Batch examples(int n) {
  Sequences prompts, responses;
  for (int i = 0; i < n; ++i) {
    prompts.push_back(std::vector{i});
    responses.push_back(std::vector{i, i});
  }
  return numbered(std::move(prompts), std::move(responses));
}
}  // namespace

TEST_CASE("the order of an epoch is a permutation that depends on seed, epoch and size alone") {
  const auto order = epoch_order(7, 3, 1000);
  CHECK(std::set<int>(order.begin(), order.end()).size() == 1000);
  CHECK(*std::ranges::min_element(order) == 0);
  CHECK(*std::ranges::max_element(order) == 999);
  CHECK(order == epoch_order(7, 3, 1000));
  CHECK(order != epoch_order(7, 4, 1000));
  CHECK(order != epoch_order(8, 3, 1000));
  CHECK(epoch_order(7, 3, 1) == std::vector{0});
  CHECK(epoch_order(7, 3, 0).empty());
}

TEST_CASE("the order is the same on every platform: a known epoch") {
  // from an independent implementation of Philox4x32-10 in Python
  CHECK(epoch_order(1, 0, 10) == std::vector<int>{8, 1, 6, 3, 9, 2, 0, 7, 4, 5});
  CHECK(epoch_order(42, 5, 10) == std::vector<int>{5, 0, 2, 7, 6, 1, 9, 8, 3, 4});
}

TEST_CASE("all orders of four examples are equally likely") {
  std::map<std::vector<int>, int> counts;
  constexpr int epochs = 24000;
  for (int epoch = 0; epoch < epochs; ++epoch)
    ++counts[epoch_order(11, static_cast<std::uint64_t>(epoch), 4)];
  REQUIRE(counts.size() == 24);
  double chi_squared = 0;  // 23 degrees of freedom: 49.7 is passed by chance once in a thousand
  for (const auto& [order, count] : counts) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000;
  CHECK(chi_squared < 49.7);
}

TEST_CASE("every example comes once in every epoch, across the ends of epochs too") {
  Batches batches(examples(10), {.seed = 3, .batch_size = 4});
  std::vector<int> seen;
  for (int step = 0; step < 5; ++step) {  // 20 examples: two epochs, the third batch has a part of both
    const Batch batch = batches.next();
    CHECK(batch.size() == 4);
    for (int i = 0; i < batch.size(); ++i) seen.push_back(batch.prompts[i][0]);
  }
  CHECK(std::set<int>(seen.begin(), seen.begin() + 10).size() == 10);
  CHECK(std::set<int>(seen.begin() + 10, seen.end()).size() == 10);
  CHECK(batches.epochs() == 2.0);
}

TEST_CASE("prompt, response and id of an example stay together") {
  Batches batches(examples(50), {.seed = 1, .batch_size = 16});
  const Batch batch = batches.at(5);
  for (int i = 0; i < batch.size(); ++i) {
    CHECK(batch.prompts[i][0] == batch.responses[i][1]);
    CHECK(batch.ids[static_cast<std::size_t>(i)] == static_cast<std::uint64_t>(batch.prompts[i][0]));
  }
}

TEST_CASE("a batch is a function of its step: a resumed run goes on with the same batches") {
  Batches whole(examples(37), {.seed = 9, .batch_size = 5});
  std::vector<Batch> batches;
  for (int step = 0; step < 30; ++step) batches.push_back(whole.next());
  Batches resumed(examples(37), {.seed = 9, .batch_size = 5, .step = 17});
  for (std::size_t step = 17; step < 30; ++step) CHECK(resumed.next() == batches[step]);
  CHECK(resumed.cursor() == whole.cursor());
  CHECK(whole.at(2) == batches[2]);  // backwards, too
  CHECK(whole.cursor().step == 30);
}

TEST_CASE("a batch larger than the data spans several epochs") {
  Batches batches(examples(3), {.seed = 2, .batch_size = 9});
  const auto rows = batches.rows(0);
  for (int epoch = 0; epoch < 3; ++epoch)
    CHECK(std::set<int>(rows.begin() + 3 * epoch, rows.begin() + 3 * (epoch + 1)).size() == 3);
}

TEST_CASE("batches of nothing, of no size or before the beginning are value errors") {
  CHECK_THROWS_AS(Batches(examples(0), {}), ValueError);
  CHECK_THROWS_WITH(Batches(examples(1), {.batch_size = 0}), "[Batches] batch size is 0, must be at least 1");
  CHECK_THROWS_AS(Batches(examples(1), {.step = -1}), ValueError);
  Batches batches(examples(1), {});
  CHECK_THROWS_AS(batches.at(-1), ValueError);
}
