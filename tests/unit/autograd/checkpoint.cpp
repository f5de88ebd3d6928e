#include "retort/autograd/checkpoint.hpp"

#include "catch.hpp"
#include "retort/ops/activation.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/dropout.hpp"
#include "retort/ops/linear.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using C = Context<Double>;

namespace {

/// A block with parameters, dropout and a residual connection.
struct Block {
  Parameter<Double> in = normal_parameter("in", {12, 6}, 1), out = normal_parameter("out", {6, 12}, 2);

  V operator()(C& context, const V& x) const {
    const V hidden = dropout(context, activate(GeluTanh{}, linear(x, context.use(in))), 0.3);
    return add(x, dropout(context, linear(hidden, context.use(out)), 0.2));
  }
};

/// Value, input gradient, parameter gradients and number of random keys of three blocks in a row.
std::vector<double> run(Block& block, bool recompute) {
  block.in.clear_grad();
  block.out.clear_grad();
  Tape<Double> tape;
  C context{.tape = &tape, .training = true, .key = RandomKey{5, 5}};
  const V start = tape.leaf(normal_tensor({4, 6}, 3));
  V x = start;
  const auto call = [&block](C& c, const V& v) { return block(c, v); };
  for (int i = 0; i < 3; ++i) x = recompute ? checkpoint(context, call, x) : block(context, x);
  tape.backward(sum(multiply(x, x)));
  std::vector<double> all = values(x.value());
  for (const auto& part : {tape.gradient(start), block.in.grad, block.out.grad}) {
    const auto numbers = values(part);
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  all.push_back(static_cast<double>(context.draws));
  return all;
}

}  // namespace

TEST_CASE("checkpoint changes no value, gradient, dropout mask or random key") {
  Block block;
  CHECK(difference(run(block, true), run(block, false)) <= 1e-14);
}

TEST_CASE("checkpoint keeps the inputs alone in memory until backward") {
  const Block block;
  const auto recorded = [&](bool recompute) {
    Tape<Double> tape;
    C context{.tape = &tape};
    const std::size_t before = bytes_in_use();
    V x = tape.leaf(normal_tensor({500, 6}, 3));
    const auto call = [&block](C& c, const V& v) { return block(c, v); };
    for (int i = 0; i < 10; ++i) x = recompute ? checkpoint(context, call, x) : block(context, x);
    return bytes_in_use() - before;
  };
  CHECK(recorded(true) * 3 < recorded(false));
}

TEST_CASE("checkpoint of several inputs gives each its gradient, also one used twice or not at all") {
  const auto f = [](C&, const V& a, const V& b, const V& c) {
    return add(multiply(a, b), scale(multiply(a, c), 2));
  };
  const auto gradients = [&](bool recompute) {
    Tape<Double> tape;
    C context{.tape = &tape};
    const V a = tape.leaf(normal_tensor({5}, 1)), b = tape.leaf(normal_tensor({5}, 2));
    const V constant(normal_tensor({5}, 3));
    const V y = recompute ? checkpoint(context, f, a, a, constant) : f(context, a, a, constant);
    const V z = recompute ? checkpoint(context, f, y, b, b) : f(context, y, b, b);
    tape.backward(sum(z));
    auto all = values(tape.gradient(a));
    for (const double g : values(tape.gradient(b))) all.push_back(g);
    return all;
  };
  CHECK(difference(gradients(true), gradients(false)) <= 1e-15);

  Tape<Double> tape;
  C context{.tape = &tape};
  const V a = tape.leaf(normal_tensor({5}, 1)), unused = tape.leaf(normal_tensor({5}, 2));
  tape.backward(sum(checkpoint(
      context, [](C&, const V& x, const V&) { return scale(x, 2); }, a, unused)));
  CHECK(values(tape.gradient(a)) == std::vector<double>(5, 2.0));
  CHECK_FALSE(tape.gradient(unused));
}

TEST_CASE("checkpoint works without a tape, of the identity, of frozen layers and inside a checkpoint") {
  Block block;
  C silent;
  const V constant(normal_tensor({4, 6}, 3));
  const auto call = [&block](C& c, const V& v) { return block(c, v); };
  CHECK_FALSE(checkpoint(silent, call, constant).requires_grad());

  Tape<Double> tape;
  C context{.tape = &tape};
  const V x = tape.leaf(normal_tensor({4, 6}, 3));
  const auto identity = [](C&, const V& v) { return v; };
  const auto nested = [&](C& c, const V& v) { return checkpoint(c, call, checkpoint(c, identity, v)); };
  tape.backward(sum(checkpoint(context, nested, x)));
  const auto recomputed = values(tape.gradient(x));
  const V y = tape.leaf(normal_tensor({4, 6}, 3));
  tape.backward(sum(block(context, y)));
  CHECK(difference(recomputed, values(tape.gradient(y))) <= 1e-15);

  // Only the last layer is trained: what stands before it is recomputed to no end, but is no error.
  Block frozen;
  frozen.in.trainable = frozen.out.trainable = false;
  const auto call_frozen = [&frozen](C& c, const V& v) { return frozen(c, v); };
  auto last = normal_parameter("last", {4, 6}, 9);
  const V features = checkpoint(context, call_frozen, constant);
  tape.backward(sum(multiply(features, context.use(last))));
  CHECK(difference(values(last.grad), values(features.value())) == 0);
}

TEST_CASE("a function that captured a variable is refused: its gradient would be lost") {
  Tape<Double> tape;
  C context{.tape = &tape};
  const V x = tape.leaf(normal_tensor({5}, 1)), captured = tape.leaf(normal_tensor({5}, 2));
  CHECK(message_of<ValueError>([&] {
          (void)checkpoint(
              context, [&](C&, const V& v) { return multiply(v, captured); }, x);
        }) == "[checkpoint] the function captured a variable that wants a gradient: pass it as an input");
}

TEST_CASE("checkpoint refuses a variable of a finished pass") {
  Tape<Double> tape;
  C context{.tape = &tape};
  const V x = tape.leaf(normal_tensor({5}, 1));
  tape.backward(sum(x));
  CHECK_THROWS_AS(checkpoint(
                      context, [](C&, const V& v) { return scale(v, 2); }, x),
                  ValueError);
}

TEST_CASE("with check_finite the op inside a checkpoint is named, forward and backward") {
  Tape<Double> tape;
  tape.check_finite = true;
  C context{.tape = &tape};
  const V x = tape.leaf(normal_tensor({5}, 1));
  const auto overflows = [](C&, const V& v) {
    return add(v, scale(v, std::numeric_limits<double>::infinity()));
  };
  CHECK(message_of<NumericError>([&] { (void)checkpoint(context, overflows, x); }).find("[scale]") == 0);
}
