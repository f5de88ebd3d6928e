#include "retort/core/sequences.hpp"

#include "catch.hpp"
#include "retort/core/batch.hpp"
#include "retort/core/error.hpp"

using namespace retort;
using Ids = std::vector<std::int32_t>;

namespace {
Sequences make(const std::vector<Ids>& rows) {
  Sequences out;
  for (const Ids& row : rows) out.push_back(row);
  return out;
}

Ids list(std::span<const std::int32_t> span) {
  return {span.begin(), span.end()};
}
}  // namespace

TEST_CASE("sequences keep their tokens and lengths, empty ones too") {
  const Sequences s = make({{5, 6, 7}, {}, {8}});
  CHECK(s.size() == 3);
  CHECK(s.total() == 4);
  CHECK(s.longest() == 3);
  CHECK(s.length(1) == 0);
  CHECK(list(s[0]) == Ids{5, 6, 7});
  CHECK(s[1].empty());
  CHECK(list(s[2]) == Ids{8});
  CHECK(s.offsets == Ids{0, 3, 3, 4});
  CHECK(Sequences{}.longest() == 0);
  CHECK(Sequences{}.empty());
}

TEST_CASE("a sequence that is not there is an error, not a crash") {
  const Sequences s = make({{5}});
  CHECK_THROWS_AS(s[1], ShapeError);
  CHECK_THROWS_AS(s[-1], ShapeError);
  CHECK_THROWS_WITH(s.length(3), "[Sequences] sequence 3 was asked for, but there are 1");
}

TEST_CASE("select takes rows in the order asked for and may repeat them") {
  const Sequences s = make({{1}, {2, 3}, {}});
  CHECK(s.select(std::vector{1, 1, 2, 0}) == make({{2, 3}, {2, 3}, {}, {1}}));
  CHECK_THROWS_AS(s.select(std::vector{3}), ShapeError);
}

TEST_CASE("padding stands on the side asked for and the mask marks the tokens") {
  const Sequences s = make({{1, 2}, {}, {3, 4, 5}});
  const PaddedTokens right = s.padded(9);
  CHECK(right.rows == 3);
  CHECK(right.columns == 3);
  CHECK(right.tokens == Ids{1, 2, 9, 9, 9, 9, 3, 4, 5});
  CHECK(right.mask == std::vector<std::uint8_t>{1, 1, 0, 0, 0, 0, 1, 1, 1});
  const PaddedTokens left = s.padded(9, Side::left, 4);
  CHECK(left.columns == 4);
  CHECK(left.tokens == Ids{9, 9, 1, 2, 9, 9, 9, 9, 9, 3, 4, 5});
}

TEST_CASE("from_padded gives back what padded took, from a mask or a padding token, on either side") {
  const Sequences s = make({{1, 2}, {}, {3, 4, 5}, {6}});
  for (const Side side : {Side::left, Side::right})
    for (const int extra : {0, 3}) {
      const PaddedTokens p = s.padded(0, side, s.longest() + extra);
      CHECK(Sequences::from_padded(p.tokens, p.columns, p.mask) == s);
      CHECK(Sequences::from_padded(p.tokens, p.columns, 0, side) == s);
    }
  CHECK(Sequences::from_padded({}, 0, 0, Side::left).empty());
}

TEST_CASE("with a mask a padding token that is also eos stays a token") {
  const Ids tokens{7, 1, 1, 1, /**/ 7, 8, 9, 1};  // eos and padding are both 1
  const std::vector<std::uint8_t> mask{1, 1, 0, 0, 1, 1, 1, 1};
  CHECK(Sequences::from_padded(tokens, 4, mask) == make({{7, 1}, {7, 8, 9, 1}}));
}

TEST_CASE("only the run of padding at the given side is cut off") {
  CHECK(Sequences::from_padded(Ids{0, 5, 0, 6, 0, 0}, 6, 0, Side::right) == make({{0, 5, 0, 6}}));
  CHECK(Sequences::from_padded(Ids{0, 5, 0, 6, 0, 0}, 6, 0, Side::left) == make({{5, 0, 6, 0, 0}}));
}

TEST_CASE("a hole in a mask and sizes that do not match are shape errors") {
  const Ids tokens{1, 2, 3, 4, 5, 6};
  CHECK_THROWS_WITH(Sequences::from_padded(tokens, 3, std::vector<std::uint8_t>{1, 1, 1, 1, 0, 1}),
                    "[from_padded] row 1 has a hole: its mask is 0 at column 1 and 1 again at column 2");
  CHECK_THROWS_AS(Sequences::from_padded(tokens, 3, std::vector<std::uint8_t>{1}), ShapeError);
  CHECK_THROWS_AS(Sequences::from_padded(tokens, 4, 0, Side::left), ShapeError);
  CHECK_THROWS_AS(Sequences::from_padded(tokens, 0, 0, Side::left), ShapeError);
}

TEST_CASE("a batch needs as many responses and ids as prompts") {
  Batch batch = numbered(make({{1}, {2}}), make({{3}, {}}));
  CHECK(batch.ids == std::vector<std::uint64_t>{0, 1});
  CHECK_NOTHROW(batch.check());
  batch.ids.pop_back();
  CHECK_THROWS_WITH(batch.check(),
                    "[Batch] 2 prompts, 2 responses and 1 ids were given: their numbers must be equal");
  CHECK_THROWS_AS(numbered(make({{1}}), make({})), ValueError);
}

TEST_CASE("micro-batches of a batch put together are the batch") {
  const Batch batch = numbered(make({{1}, {2, 2}, {3}}), make({{4}, {}, {5, 6}}));
  Batch joined = batch.slice(0, 1);
  const Batch rest = batch.slice(1, 3);
  for (int i = 0; i < rest.size(); ++i)
    joined.push_back(rest.prompts[i], rest.responses[i], rest.ids[static_cast<std::size_t>(i)]);
  CHECK(joined == batch);
  CHECK_THROWS_AS(batch.slice(2, 4), ShapeError);
}
