#include "retort/core/shape.hpp"

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;
using test::message_of;

TEST_CASE("a shape knows its rank, dimensions, size, rows and last dimension") {
  const Shape s{8, 40, 512};
  CHECK(s.rank() == 3);
  CHECK(s[0] == 8);
  CHECK(s[2] == 512);
  CHECK(s[-1] == 512);
  CHECK(s[-3] == 8);
  CHECK(s.size() == 8 * 40 * 512);
  CHECK(s.rows() == 320);
  CHECK(s.last() == 512);
  CHECK(s.str() == "(8, 40, 512)");
  CHECK(fmt::format("{}", s) == "(8, 40, 512)");
}

TEST_CASE("a shape of rank 0 is a scalar: one element in one row") {
  const Shape s;
  CHECK(s.rank() == 0);
  CHECK(s.size() == 1);
  CHECK(s.rows() == 1);
  CHECK(s.last() == 1);
  CHECK(s.str() == "()");
}

TEST_CASE("a dimension may be 0") {
  CHECK(Shape{0, 7}.size() == 0);
  CHECK(Shape{7, 0}.rows() == 0);
  CHECK(Shape{0, 7}.rows() == 0);
}

TEST_CASE("shapes are equal when rank and dimensions are") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
  CHECK_FALSE(Shape{2, 3} == Shape{2, 3, 1});
  CHECK_FALSE(Shape{} == Shape{1});
}

TEST_CASE("with replaces one dimension and leaves the original alone") {
  const Shape s{2, 3};
  CHECK(s.with(-1, 7) == Shape{2, 7});
  CHECK(s.with(0, 0) == Shape{0, 3});
  CHECK(s == Shape{2, 3});
}

TEST_CASE("append grows a shape up to rank 5") {
  Shape s;
  for (Index d = 1; d <= 5; ++d) s.append(d);
  CHECK(s == Shape{1, 2, 3, 4, 5});
  CHECK(message_of<ShapeError>([&] { s.append(6); }) == "[shape] more than 5 dimensions");
}

TEST_CASE("an impossible shape or axis is refused with its numbers") {
  CHECK(message_of<ShapeError>([] { Shape{1, 2, 3, 4, 5, 6}; }) ==
        "[shape] given 6 dimensions, at most 5 are supported");
  CHECK(message_of<ShapeError>([] { Shape{2, -3}; }) == "[shape] negative dimension -3");
  CHECK(message_of<ShapeError>([] { (void)Shape{2, 3}.with(0, -1); }) == "[shape] negative dimension -1");
  CHECK(message_of<ShapeError>([] { (void)Shape{2, 3}[2]; }) == "[shape] axis 2 of a tensor of rank 2");
  CHECK(message_of<ShapeError>([] { (void)Shape{2, 3}[-3]; }) == "[shape] axis -3 of a tensor of rank 2");
  CHECK(message_of<ShapeError>([] { (void)Shape{}[0]; }) == "[shape] axis 0 of a tensor of rank 0");
}

TEST_CASE("a shape with more elements than an index can count is refused") {
  const Index big = Index{1} << 40;
  CHECK(message_of<ShapeError>([&] {
          Shape{big, big};
        }) == "[shape] (1099511627776, 1099511627776) has more elements than memory can hold");
  CHECK_THROWS_AS((Shape{2, 3}.with(0, Index{1} << 62)), ShapeError);
}

TEST_CASE("require_shape shows both shapes") {
  CHECK_NOTHROW(require_shape("add", "second argument", Shape{2, 3}, Shape{2, 3}));
  CHECK(message_of<ShapeError>([] {
          require_shape("add", "second argument", Shape{3, 2}, Shape{2, 3});
        }) == "[add] second argument has shape (3, 2), expected (2, 3)");
}
