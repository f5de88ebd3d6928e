#include <limits>

#include "catch.hpp"
#include "retort/ops/activation.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/cross_entropy.hpp"
#include "retort/ops/dropout.hpp"
#include "retort/ops/linear.hpp"
#include "retort/ops/norm.hpp"
#include "retort/ops/position_bias.hpp"
#include "retort/ops/rows.hpp"
#include "retort/ops/softmax.hpp"
#include "variables.hpp"

// Values of the ops, what they refuse, and fused ops against the compositions that define them.

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using C = Context<Double>;

namespace {

V constant(const Shape& shape, std::initializer_list<double> numbers) {
  return V(TensorOf<Double>::from(shape, numbers));
}
V zeros(const Shape& shape) {
  return V(TensorOf<Double>::zeros(shape));
}

/// Value of f and its gradients with respect to the inputs, one list of numbers.
template <class F>
std::vector<double> with_gradients(F f, const std::vector<TensorOf<Double>>& inputs) {
  Tape<Double> tape;
  std::vector<V> x;
  for (const auto& t : inputs) x.push_back(tape.leaf(t));
  const V y = f(x);
  tape.backward(y, normal_tensor(y.shape(), 99));
  auto all = values(y.value());
  for (const V& v : x)
    for (const double g : values(tape.gradient(v))) all.push_back(g);
  return all;
}

}  // namespace

TEST_CASE("arithmetic on small numbers") {
  const V a = constant({2}, {1, 2}), b = constant({2}, {10, 20});
  CHECK(values(add(a, b).value()) == std::vector<double>{11, 22});
  CHECK(values(subtract(a, b).value()) == std::vector<double>{-9, -18});
  CHECK(values(multiply(a, b).value()) == std::vector<double>{10, 40});
  CHECK(values(scale(a, -3).value()) == std::vector<double>{-3, -6});
  CHECK(sum(b).item() == 30);
  CHECK(sum(b).shape() == Shape{});
  CHECK(reshape(a, {2, 1}).shape() == Shape{2, 1});
}

TEST_CASE("linear is x w' + bias") {
  const V x = constant({2, 3}, {1, 2, 3, 4, 5, 6}), w = constant({2, 3}, {1, 0, -1, 2, 1, 0});
  const V b = constant({2}, {10, 20});
  CHECK(values(linear(x, w).value()) == std::vector<double>{-2, 4, -2, 13});
  CHECK(values(linear(x, w, &b).value()) == std::vector<double>{8, 24, 8, 33});
  CHECK(linear(zeros({0, 3}), w).shape() == Shape{0, 2});
}

TEST_CASE("matmul of a batch equals the products one by one; an empty sum is 0") {
  const auto a = normal_tensor({2, 3, 4, 5}, 1), b = normal_tensor({2, 3, 5, 6}, 2);
  const V y = matmul(V(a), V(b));
  CHECK(y.shape() == Shape{2, 3, 4, 6});
  for (Index i = 0; i < 6; ++i) {
    const V one = matmul(V(a.reshape({6, 4, 5}).slice(i, i + 1).reshape({4, 5})),
                         V(b.reshape({6, 5, 6}).slice(i, i + 1).reshape({5, 6})));
    CHECK(difference(values(y.value().reshape({6, 24}).slice(i, i + 1)), values(one.value())) <= 1e-14);
  }
  CHECK(values(matmul(zeros({2, 3, 0}), zeros({2, 0, 2})).value()) == std::vector<double>(12, 0.0));
  CHECK(matmul(zeros({2, 0, 3}), zeros({2, 3, 4})).shape() == Shape{2, 0, 4});
}

TEST_CASE("gated equals the product of activation and value, gradients too") {
  for (const Index n : {1, 7, 17, 100}) {
    const std::vector inputs{normal_tensor({3, n}, 1), normal_tensor({3, n}, 2)};
    const auto fused = with_gradients([](auto& x) { return gated(GeluTanh{}, x[0], x[1]); }, inputs);
    const auto plain =
        with_gradients([](auto& x) { return multiply(activate(GeluTanh{}, x[0]), x[1]); }, inputs);
    CHECK(difference(fused, plain) <= 1e-14);
  }
}

TEST_CASE("log softmax is the logarithm of softmax, gradients of exp of it too") {
  const std::vector inputs{normal_tensor({4, 17}, 1)};
  const V x(inputs[0]);
  auto logarithms = values(softmax(x).value());
  for (double& p : logarithms) p = std::log(p);
  CHECK(difference(values(log_softmax(x).value()), logarithms) <= 1e-13);
}

TEST_CASE("the norms of a plain row") {
  const V x = constant({1, 4}, {1, 2, 3, 6}), gain = constant({4}, {1, 1, 2, 1}),
          bias = constant({4}, {0, 1, 0, 0});
  const double s = 1 / std::sqrt(3.5), r = 1 / std::sqrt(12.5);
  CHECK(difference(values(layer_norm(x, gain, bias, 0).value()),
                   std::vector<double>{-2 * s, 1 - s, 0, 3 * s}) <= 1e-14);
  CHECK(difference(values(rms_norm(x, gain, 0).value()), std::vector<double>{r, 2 * r, 6 * r, 6 * r}) <=
        1e-14);
}

TEST_CASE("cross-entropy is the mean over the rows that are not ignored, 0 if all are") {
  const auto logits = normal_tensor({3, 5}, 1);
  const auto log_q = values(log_softmax(V(logits)).value());
  CHECK(cross_entropy(V(logits), index_tensor({1, -100, 4})).item() == Approx(-(log_q[1] + log_q[14]) / 2));
  CHECK(cross_entropy(V(logits), index_tensor({1, 0, 4}), 0).item() == Approx(-(log_q[1] + log_q[14]) / 2));
  Tape<Double> tape;
  const V x = tape.leaf(logits);
  const V none = cross_entropy(x, index_tensor({-100, -100, -100}));
  CHECK(none.item() == 0);
  tape.backward(none);
  CHECK(values(tape.gradient(x)) == std::vector<double>(15, 0.0));
  CHECK(cross_entropy(zeros({0, 5}), index_tensor({})).item() == 0);
}

TEST_CASE("cross-entropy leaves the logits as they were, with and without a tape") {
  const auto logits = normal_tensor({3, 5}, 1);
  const auto before = values(logits);
  Tape<Double> tape;
  const double plain = cross_entropy(V(logits), index_tensor({1, 2, 4})).item();
  const double recorded = cross_entropy(tape.leaf(logits), index_tensor({1, 2, 4})).item();
  CHECK(plain == recorded);
  CHECK(values(logits) == before);
}

TEST_CASE("a NaN logit is a NaN loss, also through an ignored neighbour") {
  auto logits = normal_tensor({2, 5}, 1);
  logits.data()[7] = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(cross_entropy(V(logits), index_tensor({1, 2})).item()));
  CHECK(std::isfinite(cross_entropy(V(logits), index_tensor({1, -100})).item()));
}

TEST_CASE("a parameter's gradient from scattered rows begins at 0, whatever its memory held") {
  auto table = normal_parameter("table", {4, 2}, 1);
  table.grad = TensorOf<Double>::full({4, 2}, std::numeric_limits<double>::quiet_NaN());
  const auto ids = index_tensor({2, 0, 2});
  Tape<Double> tape;
  tape.backward(sum(embedding(tape.leaf(table), ids)));
  CHECK(values(table.grad) == std::vector<double>{1, 1, 0, 0, 2, 2, 0, 0});
  tape.backward(sum(embedding(tape.leaf(table), ids)));
  CHECK(values(table.grad) == std::vector<double>{2, 2, 0, 0, 4, 4, 0, 0});
}

TEST_CASE("dropout acts in training alone, has the expected mean and repeats with the context's key") {
  const V x(TensorOf<Double>::full({10'000}, 2));
  C context;
  CHECK(dropout(context, x, 0.5).same_as(x));
  CHECK(context.draws == 0);
  context.training = true;
  CHECK(dropout(context, x, 0).same_as(x));
  const auto first = values(dropout(context, x, 0.25).value());
  const auto second = values(dropout(context, x, 0.25).value());
  CHECK(first != second);
  C again{.training = true};
  CHECK(values(dropout(again, x, 0.25).value()) == first);
  double mean = 0;
  for (const double v : first) mean += v / 10'000;
  CHECK(mean == Approx(2).margin(4 * 2 * std::sqrt(0.25 / 0.75 / 10'000)));
}

TEST_CASE("the gradient of dropout is its mask") {
  Tape<Double> tape;
  C context{.tape = &tape, .training = true, .key = RandomKey{3, 4}};
  const V x = tape.leaf(TensorOf<Double>::full({1000}, 1));
  const V y = dropout(context, x, 0.4);
  tape.backward(sum(add(y, scale(x, 2))));
  auto expected = values(y.value());
  for (double& v : expected) v += 2;
  CHECK(difference(values(tape.gradient(x)), expected) <= 1e-15);
}

TEST_CASE("probabilities outside [0, 1) are refused by dropout") {
  C context{.training = true};
  for (const double p : {-0.1, 1.0, 2.0, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_AS(dropout(context, zeros({2}), p), ValueError);
  CHECK(message_of<ValueError>([&] { (void)dropout(context, zeros({2}), 1.5); }) ==
        "[dropout] probability 1.5 is outside [0, 1)");
}

TEST_CASE("shape errors name the op and show both shapes") {
  const auto said = [](auto f) { return message_of<ShapeError>(f); };
  const V a = zeros({2, 3}), b = zeros({3, 2}), v = zeros({3});
  CHECK(said([&] { (void)add(a, b); }) == "[add] second argument has shape (3, 2), expected (2, 3)");
  CHECK(said([&] { (void)subtract(a, b); }) ==
        "[subtract] second argument has shape (3, 2), expected (2, 3)");
  CHECK(said([&] { (void)multiply(a, v); }) == "[multiply] second argument has shape (3), expected (2, 3)");
  CHECK(said([&] { (void)gated(Relu{}, a, b); }) == "[gated] value has shape (3, 2), expected (2, 3)");
  CHECK(said([&] { (void)reshape(a, {4}); }) == "[reshape] (2, 3) has 6 elements, (4) has 4");
  CHECK(said([&] { (void)linear(a, b); }) ==
        "[linear] input (2, 3) and weight (3, 2): expected (rows, in) and (out, in)");
  CHECK(said([&] { (void)linear(v, b); }) ==
        "[linear] input (3) and weight (3, 2): expected (rows, in) and (out, in)");
  CHECK(said([&] { (void)linear(b, b, &a); }) == "[linear] bias has shape (2, 3), expected (3)");
  CHECK(said([&] { (void)matmul(a, a); }) == "[matmul] (2, 3) times (2, 3)");
  CHECK(said([&] { (void)matmul(a, b, true); }) == "[matmul] (2, 3) times (3, 2) transposed");
  CHECK(said([&] {
          (void)matmul(zeros({2, 2, 3}), zeros({3, 3, 2}));
        }) == "[matmul] (2, 2, 3) times (3, 3, 2)");
  CHECK(said([&] { (void)matmul(a, zeros({1, 3, 2})); }) == "[matmul] (2, 3) times (1, 3, 2)");
  CHECK(said([&] { (void)layer_norm(a, zeros({2}), v, 1e-5); }) ==
        "[layer_norm] gain has shape (2), expected (3)");
  CHECK(said([&] {
          (void)layer_norm(a, v, zeros({1, 3}), 1e-5);
        }) == "[layer_norm] bias has shape (1, 3), expected (3)");
  CHECK(said([&] { (void)rms_norm(a, zeros({2}), 1e-5); }) == "[rms_norm] gain has shape (2), expected (3)");
  CHECK(said([&] { (void)cross_entropy(a, index_tensor({1})); }) ==
        "[cross_entropy] targets has shape (1), expected (2)");
  CHECK(said([&] {
          (void)cross_entropy(a, index_tensor({1, 3}));
        }) == "[cross_entropy] target 3 is outside [0, 3)");
  CHECK(said([&] {
          (void)cross_entropy(a, index_tensor({-1, 2}));
        }) == "[cross_entropy] target -1 is outside [0, 3)");
  CHECK(said([&] { (void)take_rows(v, index_tensor({0})); }) ==
        "[take_rows] rows of (3) by index (1): expected (rows, n) and (N)");
  CHECK(said([&] { (void)take_rows(a, index_tensor({0, 2})); }) == "[take_rows] index 2 is outside [0, 2)");
  CHECK(said([&] { (void)embedding(a, index_tensor({-1})); }) == "[embedding] index -1 is outside [0, 2)");
  CHECK(said([&] { (void)relative_position_bias(v, 4, true, 20); }) ==
        "[relative_position_bias] table (3) and reach 4: expected (buckets, heads), at least 1");
}

TEST_CASE("relative position buckets are T5's: bidirectional, 32 buckets up to distance 128") {
  const auto bucket = [](Index distance) { return relative_position_bucket(distance, true, 32, 128); };
  // 16 buckets a side, 8 of them exact; key after query: 16 more. Worked out by hand from the definition.
  const std::pair<Index, Index> known[] = {
      {0, 0},     {-1, 1},   {1, 17},    {-7, 7},    {7, 23},   {-8, 8},      {8, 24},
      {-11, 8},   {-12, 9},  {-15, 9},   {15, 25},   {-16, 10}, {16, 26},     {-22, 10},
      {-23, 11},  {-31, 11}, {-32, 12},  {-64, 14},  {64, 30},  {-90, 14},    {-91, 15},
      {-127, 15}, {127, 31}, {-128, 15}, {-200, 15}, {200, 31}, {100'000, 31}};
  for (const auto& [distance, expected] : known) {
    CAPTURE(distance);
    CHECK(bucket(distance) == expected);
  }
}

TEST_CASE("relative position buckets are T5's: causal, 32 buckets up to distance 128") {
  const auto bucket = [](Index distance) { return relative_position_bucket(distance, false, 32, 128); };
  const std::pair<Index, Index> known[] = {
      {0, 0},    {1, 0},    {200, 0},  {-1, 1},   {-7, 7},    {-8, 8},    {-15, 15},  {-16, 16},
      {-18, 16}, {-19, 17}, {-32, 21}, {-64, 26}, {-127, 31}, {-128, 31}, {-200, 31}, {-100'000, 31}};
  for (const auto& [distance, expected] : known) {
    CAPTURE(distance);
    CHECK(bucket(distance) == expected);
  }
}

TEST_CASE("relative position buckets never fall with the distance and stay below their number") {
  for (const bool bidirectional : {false, true})
    for (const Index buckets : {4, 8, 32, 33})
      for (const Index max_distance : {20, 128}) {
        const Index side = bidirectional ? buckets / 2 : buckets;
        for (Index d = 0; d < 300; ++d) {
          const Index here = relative_position_bucket(-d, bidirectional, buckets, max_distance);
          const Index next = relative_position_bucket(-d - 1, bidirectional, buckets, max_distance);
          CHECK((here <= next && next < side));
          const Index after = relative_position_bucket(d, bidirectional, buckets, max_distance);
          CHECK(after == (bidirectional && d > 0 ? here + side : (bidirectional ? here : 0)));
        }
      }
}

TEST_CASE("the relative position bias holds at every distance the row of the table that is its bucket's") {
  const auto table = normal_tensor({8, 3}, 1);
  for (const bool bidirectional : {false, true}) {
    const V bias = relative_position_bias(V(table), 10, bidirectional, 20);
    CHECK(bias.shape() == Shape{3, 19});
    for (Index h = 0; h < 3; ++h)
      for (Index d = -9; d <= 9; ++d)
        CHECK(bias.data()[h * 19 + d + 9] ==
              std::as_const(table).data()[relative_position_bucket(d, bidirectional, 8, 20) * 3 + h]);
  }
}

TEST_CASE("a relative position bias with too few buckets or no room for the far ones is refused") {
  CHECK_THROWS_AS(relative_position_bias(zeros({3, 2}), 5, true, 20), ValueError);
  CHECK_THROWS_AS(relative_position_bias(zeros({1, 2}), 5, false, 20), ValueError);
  CHECK_THROWS_AS(relative_position_bias(zeros({32, 2}), 5, true, 8), ValueError);
  CHECK_NOTHROW(relative_position_bias(zeros({4, 2}), 5, true, 2));
}
