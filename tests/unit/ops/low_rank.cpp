// The low-rank product against its definition and finite differences.
#include "retort/ops/low_rank.hpp"

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using D = Double;

namespace {

Variable<D> add(const std::vector<Variable<D>>& v, Index first) {
  return add_low_rank(v[0], v[1], v[2], v[3], -1.5, first);
}

}  // namespace

TEST_CASE("a low-rank product is added to the columns that it is for, and to no other") {
  const auto y = normal_tensor({4, 7}, 1), x = normal_tensor({4, 5}, 2), a = normal_tensor({2, 5}, 3),
             b = normal_tensor({3, 2}, 4);
  const auto sum = add({Variable<D>(y), Variable<D>(x), Variable<D>(a), Variable<D>(b)}, 2).value();
  for (Index n = 0; n < 4; ++n)
    for (Index c = 0; c < 7; ++c) {
      double right = y.to_host()[static_cast<std::size_t>(n * 7 + c)];
      for (Index r = 0; c >= 2 && c < 5 && r < 2; ++r)
        for (Index i = 0; i < 5; ++i)
          right += -1.5 * x.to_host()[static_cast<std::size_t>(n * 5 + i)] *
                   a.to_host()[static_cast<std::size_t>(r * 5 + i)] *
                   b.to_host()[static_cast<std::size_t>((c - 2) * 2 + r)];
      CHECK(sum.to_host()[static_cast<std::size_t>(n * 7 + c)] == Approx(right));
    }
}

TEST_CASE("gradients of a low-rank product are those of finite differences") {
  for (const Index first : {0, 1, 4}) {
    poison_pool();
    const auto result = check_gradients([&](Context<D>&, const auto& v) { return add(v, first); },
                                        {normal_tensor({4, 7}, 1), normal_tensor({4, 5}, 2),
                                         normal_tensor({2, 5}, 3), normal_tensor({3, 2}, 4)});
    CAPTURE(first, result.worst);
    CHECK(result.relative_error < 1e-7);
  }
}

TEST_CASE("the same variable as input and as output of a low-rank product gets both gradients") {
  const auto result =
      check_gradients([&](Context<D>&, const auto& v) { return add_low_rank(v[0], v[0], v[1], v[2], 2, 1); },
                      {normal_tensor({4, 5}, 1), normal_tensor({2, 5}, 3), normal_tensor({3, 2}, 4)});
  CAPTURE(result.worst);
  CHECK(result.relative_error < 1e-7);
}

TEST_CASE("a low-rank product refuses sizes that do not match") {
  const auto v = [](Index rows, Index columns) { return Variable<D>(normal_tensor({rows, columns}, 1)); };
  CHECK_THROWS_AS(add_low_rank(v(4, 7), v(4, 5), v(2, 5), v(3, 2), 1, 5), ShapeError);
  CHECK_THROWS_AS(add_low_rank(v(4, 7), v(4, 5), v(2, 5), v(3, 2), 1, -1), ShapeError);
  CHECK_THROWS_AS(add_low_rank(v(4, 7), v(4, 6), v(2, 5), v(3, 2), 1), ShapeError);
  CHECK_THROWS_AS(add_low_rank(v(4, 7), v(3, 5), v(2, 5), v(3, 2), 1), ShapeError);
  CHECK_THROWS_AS(add_low_rank(v(4, 7), v(4, 5), v(2, 5), v(3, 3), 1), ShapeError);
}
