#include "retort/autograd/tape.hpp"

#include <algorithm>

#include "catch.hpp"
#include "retort/ops/activation.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/linear.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;

namespace {

V leaf(Tape<Double>& tape, std::initializer_list<double> numbers) {
  return tape.leaf(TensorOf<Double>::from({static_cast<Index>(numbers.size())}, numbers));
}

}  // namespace

TEST_CASE("a variable used many times gets the sum of its gradients") {
  poison_pool();
  Tape<Double> tape;
  const V x = leaf(tape, {2, -3});
  // y = x + x * x + 3 x + x: dy/dx = 5 + 2 x
  const V y = add(add(add(x, multiply(x, x)), scale(x, 3)), x);
  tape.backward(sum(y));
  CHECK(values(tape.gradient(x)) == std::vector<double>{9, -1});
}

TEST_CASE("a residual connection y = x + f(x), many in a row, equals the product of their slopes") {
  poison_pool();
  Tape<Double> tape;
  const V x = leaf(tape, {0.7, -1.2, 0.1});
  V y = x;
  for (int i = 0; i < 10; ++i) y = add(y, scale(y, 0.1));
  tape.backward(sum(y));
  for (const double g : values(tape.gradient(x))) CHECK(g == Approx(std::pow(1.1, 10)).epsilon(1e-14));
}

TEST_CASE("adding a variable to itself doubles the gradient without touching the upstream one") {
  Tape<Double> tape;
  const V x = leaf(tape, {1, 2});
  auto upstream = TensorOf<Double>::from({2}, {10, 20});
  tape.backward(add(x, x), upstream);
  CHECK(values(tape.gradient(x)) == std::vector<double>{20, 40});
  CHECK(values(upstream) == std::vector<double>{10, 20});
}

TEST_CASE("branches that share one upstream buffer do not write into each other's gradients") {
  poison_pool();
  Tape<Double> tape;
  const V a = leaf(tape, {1, 2}), b = leaf(tape, {3, 4}), c = leaf(tape, {5, 6});
  // The add hands one buffer to both of its inputs; each then receives another contribution.
  const V s = add(a, b);
  const V y = add(add(s, c), add(multiply(a, c), add(scale(b, 7), reshape(s, {2}))));
  tape.backward(sum(y));
  CHECK(values(tape.gradient(a)) == std::vector<double>{2 + 5, 2 + 6});
  CHECK(values(tape.gradient(b)) == std::vector<double>{2 + 7, 2 + 7});
  CHECK(values(tape.gradient(c)) == std::vector<double>{1 + 1, 1 + 2});
}

TEST_CASE("the first touch of a gradient overwrites what its memory held before") {
  for (int round = 0; round < 3; ++round) {
    poison_pool();
    Tape<Double> tape;
    const V x = leaf(tape, {1, 2, 3, 4, 5, 6}), w = leaf(tape, {1, -1, 2, 0, 1, 1});
    const V y = linear(reshape(x, {2, 3}), reshape(w, {2, 3}));
    tape.backward(sum(multiply(y, activate(Silu{}, y))));
    CHECK(kernels::all_finite(CpuDevice{}, std::as_const(tape).gradient(x).data(), 6));
    CHECK(kernels::all_finite(CpuDevice{}, std::as_const(tape).gradient(w).data(), 6));
  }
}

TEST_CASE("backward takes a seed and an upstream gradient of any shape") {
  Tape<Double> tape;
  V x = leaf(tape, {1, 2});
  tape.backward(sum(x), 3);
  CHECK(values(tape.gradient(x)) == std::vector<double>{3, 3});
  x = leaf(tape, {1, 2});
  tape.backward(multiply(x, x), TensorOf<Double>::from({2}, {1, 10}));
  CHECK(values(tape.gradient(x)) == std::vector<double>{2, 40});
  x = leaf(tape, {1, 2});
  tape.backward(x, TensorOf<Double>::from({2}, {5, 6}));
  CHECK(values(tape.gradient(x)) == std::vector<double>{5, 6});
}

TEST_CASE("a leaf that the result does not depend on has no gradient") {
  Tape<Double> tape;
  const V x = leaf(tape, {1}), unused = leaf(tape, {2}), side = multiply(unused, unused);
  tape.backward(sum(x));
  CHECK_FALSE(tape.gradient(unused));
  CHECK(tape.gradient(x).item() == 1);
  CHECK(side.item() == 4);
}

TEST_CASE("variables without a tape record nothing and take no gradient") {
  Tape<Double> tape;
  const V constant(TensorOf<Double>::from({2}, {3, 4}));
  const V y = multiply(constant, add(constant, constant));
  CHECK_FALSE(y.requires_grad());
  CHECK(tape.size() == 0);
  const V x = leaf(tape, {1, 2});
  const V mixed = multiply(x, y);
  CHECK(mixed.requires_grad());
  tape.backward(sum(mixed));
  CHECK(values(tape.gradient(x)) == std::vector<double>{18, 32});
}

TEST_CASE("a parameter's gradient accumulates over passes and begins anew after clear_grad") {
  auto p = normal_parameter("w", {3}, 1);
  Tape<Double> tape;
  const auto pass = [&](double factor) {
    const V w = tape.leaf(p);
    tape.backward(sum(add(scale(w, factor), scale(w, 1))));
  };
  CHECK_FALSE(p.has_grad);
  pass(1);
  CHECK(values(p.grad) == std::vector<double>{2, 2, 2});
  pass(2);
  pass(4);
  CHECK(values(p.grad) == std::vector<double>{10, 10, 10});
  p.clear_grad();
  CHECK_FALSE(p.has_grad);
  std::fill_n(p.grad.data(), 3, std::nan(""));
  pass(1);
  CHECK(values(p.grad) == std::vector<double>{2, 2, 2});
}

TEST_CASE("a parameter used as two leaves of one pass gets both contributions") {
  auto p = normal_parameter("w", {2}, 1);
  Tape<Double> tape;
  const V a = tape.leaf(p), b = tape.leaf(p);
  tape.backward(sum(multiply(a, scale(b, 3))));
  for (std::size_t i = 0; i < 2; ++i) CHECK(values(p.grad)[i] == Approx(6 * values(p.value)[i]));
}

TEST_CASE(
    "parameters that are not trainable, and passes without a tape, take no gradient and record nothing") {
  auto p = normal_parameter("w", {2}, 1);
  Tape<Double> tape;
  Context<Double> context{.tape = &tape};
  p.trainable = false;
  CHECK_FALSE(context.use(p).requires_grad());
  CHECK(tape.size() == 0);
  p.trainable = true;
  CHECK(context.use(p).requires_grad());
  const Context<Double> silent;
  const V y = multiply(silent.use(p), silent.use(p));
  CHECK_FALSE(y.requires_grad());
  CHECK(tape.size() == 1);
  CHECK_FALSE(p.has_grad);
}

TEST_CASE("copying a parameter copies the weight and not the gradient") {
  auto p = normal_parameter("w", {2}, 1);
  (void)p.open_grad();
  const auto copy = p;
  CHECK(copy.name == "w");
  CHECK(values(copy.value) == values(p.value));
  CHECK_FALSE(copy.has_grad);
  p.value.data()[0] = 17;
  CHECK(values(copy.value)[0] != 17);
  const auto moved = std::move(p);
  CHECK(moved.has_grad);
}

TEST_CASE("backward twice through one pass, or from something else than a scalar, is refused") {
  Tape<Double> tape;
  const V x = leaf(tape, {1, 2});
  const V y = multiply(x, x), loss = sum(y);
  CHECK(message_of<ShapeError>([&] { tape.backward(y); }) ==
        "[backward] loss has shape (2), expected a scalar");
  CHECK(message_of<ShapeError>([&] { tape.backward(y, TensorOf<Double>::zeros({3})); }) ==
        "[backward] gradient has shape (3), expected (2)");
  tape.backward(loss);
  CHECK(message_of<ValueError>([&] { tape.backward(loss); }) ==
        "[backward] this pass has been propagated already");
  CHECK(values(tape.gradient(x)) == std::vector<double>{2, 4});
}

TEST_CASE("a variable of a finished pass, an older pass or another tape is refused") {
  Tape<Double> tape, other;
  const V x = leaf(tape, {1, 2});
  const V z = other.leaf(TensorOf<Double>::zeros({2}));
  CHECK(message_of<ValueError>([&] { (void)add(x, z); }) ==
        "[add] variable of shape (2) was not made by this pass of this tape");
  CHECK_THROWS_AS(other.backward(sum(x)), ValueError);
  CHECK_THROWS_AS(tape.gradient(z), ValueError);
  CHECK_THROWS_AS(tape.backward(V(TensorOf<Double>::zeros({}))), ValueError);
  tape.backward(sum(x));
  CHECK(message_of<ValueError>([&] { (void)add(x, x); }) ==
        "[add] variable of shape (2) is of a pass that has been propagated already");
  CHECK(values(tape.gradient(x)) == std::vector<double>{1, 1});  // still there
  const V fresh = leaf(tape, {5, 6});
  CHECK_THROWS_AS((void)add(x, fresh), ValueError);
  CHECK_THROWS_AS((void)add(fresh, x), ValueError);
  CHECK_THROWS_AS(tape.gradient(x), ValueError);
  tape.backward(sum(multiply(fresh, fresh)));
  CHECK(values(tape.gradient(fresh)) == std::vector<double>{10, 12});
  const V cleared = leaf(tape, {1, 2});
  tape.clear();
  CHECK_THROWS_AS((void)add(cleared, cleared), ValueError);
}

TEST_CASE(
    "a chain of 100,000 ops is recorded, propagated and destroyed without recursion, its memory given back") {
  const std::size_t before = bytes_in_use();
  const std::size_t block = [&] {  // of the fewest bytes; under a sanitizer with a gap behind it
    const TensorOf<Double> least({1});
    return bytes_in_use() - before;
  }();
  {
    Tape<Double> tape;
    V x = leaf(tape, {1, 2});
    const V start = x;
    for (int i = 0; i < 100'000; ++i) x = i % 2 == 0 ? scale(x, 1.0001) : add(x, start);
    CHECK(tape.size() == 100'001);
    const V loss = sum(x);
    x = {};
    tape.backward(loss);
    CHECK(kernels::all_finite(CpuDevice{}, std::as_const(tape).gradient(start).data(), 2));
    CHECK(bytes_in_use() <= before + 4 * block);  // the leaf's value and gradient, the loss
    // and one that is never propagated
    V y = leaf(tape, {1, 2});
    for (int i = 0; i < 100'000; ++i) y = scale(y, 0.5);
  }
  CHECK(bytes_in_use() == before);
}

TEST_CASE("backward gives buffers back as it passes: the peak is far below the sum of all gradients") {
  Tape<Double> tape;
  V x = tape.leaf(normal_tensor({10'000}, 1));
  for (int i = 0; i < 100; ++i) x = scale(x, 0.99);  // keeps no input
  const V loss = sum(x);
  x = {};
  auto& pool = Pool<CpuDevice>::instance();
  pool.reset_peak();
  const std::size_t before = bytes_in_use();
  tape.backward(loss);
  CHECK(pool.statistics().peak_in_use <= before + 3 * 90'000);
}

TEST_CASE("passes of one tape need no more memory than the first few") {
  auto p = normal_parameter("w", {40, 40}, 1);
  Tape<Double> tape;
  std::uint64_t after_warm_up = 0;
  for (int pass = 0; pass < 20; ++pass) {
    V x = V(normal_tensor({8, 40}, 2));
    for (int i = 0; i < 5; ++i) x = activate(GeluTanh{}, linear(x, tape.leaf(p)));
    tape.backward(sum(x));
    const auto calls = Pool<CpuDevice>::instance().statistics().system_allocations;
    if (pass == 2) after_warm_up = calls;
  }
  CHECK(Pool<CpuDevice>::instance().statistics().system_allocations == after_warm_up);
}

TEST_CASE("check_finite names the op whose value is not finite, its shape and the parameter used last") {
  auto p = normal_parameter("encoder.block.3.w", {2}, 1);
  Tape<Double> tape;
  tape.check_finite = true;
  const V x = leaf(tape, {1, -1});
  const V y = multiply(x, tape.leaf(p));
  CHECK_NOTHROW(scale(y, 2));
  CHECK(message_of<NumericError>([&] { (void)scale(y, std::numeric_limits<double>::infinity()); }) ==
        "[scale] the first value that is not finite came out of this op, shape (2); the parameter used last "
        "was "
        "encoder.block.3.w");
}

TEST_CASE("check_finite names the op whose output's gradient is not finite") {
  Tape<Double> tape;
  tape.check_finite = true;
  const V x = leaf(tape, {1, 2});
  const V y = scale(x, 3);
  const V loss = sum(multiply(y, y));
  CHECK(message_of<NumericError>([&] { tape.backward(loss, std::numeric_limits<double>::infinity()); }) ==
        "[sum] the gradient of this op's output, shape (), is not finite");
  tape.check_finite = false;
  const V again = leaf(tape, {1, 2});
  CHECK_NOTHROW(tape.backward(sum(scale(again, 1)), std::numeric_limits<double>::infinity()));
}

TEST_CASE("a tape goes on after an op or a backward pass threw") {
  Tape<Double> tape;
  const V x = leaf(tape, {1, 2});
  const V failing = record(
      "failing", x.value().clone(), [](const TensorOf<Double>&) { throw ValueError("no"); }, x);
  CHECK_THROWS_AS(add(x, V(TensorOf<Double>::zeros({3}))), ShapeError);
  CHECK_THROWS_AS(tape.backward(sum(failing)), ValueError);
  const V y = leaf(tape, {3, 4});
  tape.backward(sum(multiply(y, y)));
  CHECK(values(tape.gradient(y)) == std::vector<double>{6, 8});
}

TEST_CASE("copy_parameters copies weights between models of one structure and refuses others by name") {
  auto a = normal_parameter("w", {2, 2}, 1), b = normal_parameter("w", {2, 2}, 2);
  auto renamed = normal_parameter("v", {2, 2}, 3), reshaped = normal_parameter("w", {4}, 3);
  copy_parameters<Double>({&a}, {&b});
  CHECK(values(a.value) == values(b.value));
  a.value.data()[0] = 9;
  CHECK(values(b.value)[0] != 9);
  CHECK(message_of<ShapeError>([&] { copy_parameters<Double>({&a}, {&renamed}); }) ==
        "[copy_parameters] parameter w given for v");
  CHECK(message_of<ShapeError>([&] { copy_parameters<Double>({&a}, {&reshaped}); }) ==
        "[copy_parameters] w has shape (2, 2), expected (4)");
  CHECK(message_of<ShapeError>([&] { copy_parameters<Double>({&a}, {}); }) ==
        "[copy_parameters] 1 parameters given for 0");
  CHECK(parameter_count<Double>({&a, &b}) == 8);
}
