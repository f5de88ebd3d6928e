#include "retort/nn/kv_cache.hpp"

#include <set>

#include "catch.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;
using Lengths = std::vector<std::int32_t>;

namespace {

/// Appends `rows[i]` new rows to each live sequence in both layers: keys and values (width 1 each) that tell
/// the sequence's name, the row's number in it, and the layer.
void append(nn::KvCache<D>& cache, const std::vector<double>& names, const Lengths& rows) {
  const auto layout = cache.layout(rows);
  for (Index layer = 0; layer < std::ssize(cache.layers); ++layer) {
    std::vector<double> kv;
    for (std::size_t i = 0; i < names.size(); ++i)
      for (std::int32_t r = 0; r < rows[i]; ++r) {
        const double value = 100 * names[i] + cache.length[i] + r + 0.5 * static_cast<double>(layer);
        kv.insert(kv.end(), {-1, value, -value, -1});  // columns [1, 3) of a wider projection
      }
    const Variable<D> projected(TensorOf<D>::from({std::ssize(kv) / 4, 4}, kv));
    cache.append(layer, *layout, {projected, 1, 2});
  }
  cache.advance(rows);
}

/// Every live sequence's rows are those that were appended under its name.
void check_content(const nn::KvCache<D>& cache, const std::vector<double>& names) {
  REQUIRE(cache.sequences() == std::ssize(names));
  const auto layout = cache.layout(Lengths(names.size(), 0));
  for (Index layer = 0; layer < std::ssize(cache.layers); ++layer) {
    const auto rows = cache.layers[static_cast<std::size_t>(layer)].to_host();
    for (std::size_t i = 0; i < names.size(); ++i) {
      REQUIRE(layout->keys.length[i] == cache.length[i]);
      for (std::int32_t r = 0; r < cache.length[i]; ++r) {
        const auto at = static_cast<std::size_t>(layout->keys.begin[i] + r) * 2;
        const double value = 100 * names[i] + r + 0.5 * static_cast<double>(layer);
        CHECK(rows[at] == value);
        CHECK(rows[at + 1] == -value);
      }
    }
  }
}

}  // namespace

TEST_CASE("a cache keeps ragged sequences, and drops and reorders them without moving anything") {
  nn::KvCache<D> cache(2, 4, 6, 1);
  append(cache, {1, 2, 3, 4}, {2, 1, 3, 1});
  check_content(cache, {1, 2, 3, 4});
  append(cache, {1, 2, 3, 4}, {1, 1, 1, 0});
  check_content(cache, {1, 2, 3, 4});
  CHECK(cache.length == Lengths{3, 2, 4, 1});

  cache.select({3, 0, 2});
  check_content(cache, {4, 1, 3});
  CHECK(cache.slot == Lengths{3, 0, 2});
  append(cache, {4, 1, 3}, {1, 1, 1});
  check_content(cache, {4, 1, 3});
  cache.select({1});
  append(cache, {1}, {2});
  check_content(cache, {1});
  cache.select({});
  CHECK(cache.sequences() == 0);
}

TEST_CASE("a sequence that is kept twice is copied, and the copies go their own ways") {
  nn::KvCache<D> cache(2, 4, 6, 1);
  append(cache, {1, 2, 3, 4}, {2, 1, 3, 1});
  cache.select({2, 2, 0, 2});  // 2 and 4 are dropped
  check_content(cache, {3, 3, 1, 3});
  const std::set<std::int32_t> slots(cache.slot.begin(), cache.slot.end());
  CHECK(slots.size() == 4);
  append(cache, {3, 3, 1, 3}, {1, 0, 1, 2});
  CHECK(cache.length == Lengths{4, 3, 3, 5});
  check_content(cache, {3, 3, 1, 3});
}

TEST_CASE("dropped slots are used again, also after the batch has shrunk") {
  nn::KvCache<D> cache(1, 3, 4, 1);
  append(cache, {1, 2, 3}, {1, 2, 1});
  cache.select({1});
  cache.select({0, 0, 0});
  check_content(cache, {2, 2, 2});
  CHECK(std::set<std::int32_t>(cache.slot.begin(), cache.slot.end()).size() == 3);
}

TEST_CASE("forgotten tokens are gone, those before them stay, and others take their place") {
  nn::KvCache<D> cache(2, 3, 6, 1);
  append(cache, {1, 2, 3}, {4, 2, 5});
  cache.rewind(Lengths{3, 0, 1});
  CHECK(cache.length == Lengths{1, 2, 4});
  check_content(cache, {1, 2, 3});
  append(cache, {1, 2, 3}, {2, 3, 2});
  CHECK(cache.length == Lengths{3, 5, 6});
  check_content(cache, {1, 2, 3});
  cache.select({2, 0});
  cache.rewind(Lengths{6, 1});
  CHECK(cache.length == Lengths{0, 2});
  check_content(cache, {3, 1});

  CHECK(message_of<ValueError>([&] {
          cache.rewind(Lengths{0, 3});
        }) == "[kv_cache] sequence 1 has 2 tokens, 3 cannot be forgotten");
  CHECK_THROWS_AS(cache.rewind(Lengths{0, -1}), ValueError);
  CHECK(message_of<ValueError>([&] { cache.rewind(Lengths{0}); }) ==
        "[kv_cache] 1 sequences to rewind, but 2 are live");
  CHECK(cache.length == Lengths{0, 2});
}

TEST_CASE("more sequences than slots are refused, and nothing is changed") {
  nn::KvCache<D> cache(1, 2, 4, 1);
  append(cache, {1, 2}, {1, 2});
  CHECK(message_of<ValueError>([&] {
          cache.select({0, 1, 0});
        }) == "[kv_cache] 3 sequences, but only 2 slots");
  check_content(cache, {1, 2});
}

TEST_CASE("room is made for copies later, and what is cached stays") {
  nn::KvCache<D> cache(2, 3, 6, 1);
  append(cache, {1, 2, 3}, {2, 1, 3});
  cache.select({2, 0});
  cache.reserve(5);
  CHECK(cache.slots == 5);
  check_content(cache, {3, 1});
  cache.select({1, 0, 0, 1, 0});
  check_content(cache, {1, 3, 3, 1, 3});
  CHECK(std::set<std::int32_t>(cache.slot.begin(), cache.slot.end()).size() == 5);
  append(cache, {1, 3, 3, 1, 3}, {1, 2, 0, 3, 1});
  check_content(cache, {1, 3, 3, 1, 3});
  cache.reserve(2);
  CHECK(cache.slots == 5);
}

TEST_CASE("a cache without layers, or of no sequences, can be selected from") {
  nn::KvCache<D> none(0, 3, 4, 1);
  none.select({2});
  none.select({0, 0, 0});
  CHECK(none.sequences() == 3);
  CHECK(none.layout({1, 1, 1})->keys.length == Lengths{1, 1, 1});
  nn::KvCache<D> empty(2, 0, 4, 1);
  empty.select({});
  CHECK(empty.layout({})->keys.count() == 0);
}

TEST_CASE("a sequence that outgrows the capacity is refused before anything is stored") {
  nn::KvCache<D> cache(1, 2, 3, 1);
  append(cache, {1, 2}, {3, 1});
  CHECK(message_of<ValueError>([&] {
          (void)cache.layout({1, 1});
        }) == "[kv_cache] a sequence of 4 tokens outgrows the capacity of 3");
  CHECK_NOTHROW(cache.layout({0, 2}));
  check_content(cache, {1, 2});
}
