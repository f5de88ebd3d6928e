#include <functional>

#include "catch.hpp"
#include "retort/autograd/checkpoint.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/ops/activation.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/cross_entropy.hpp"
#include "retort/ops/linear.hpp"
#include "retort/ops/norm.hpp"
#include "retort/ops/position_bias.hpp"
#include "retort/ops/rows.hpp"
#include "retort/ops/softmax.hpp"
#include "variables.hpp"

// Ops by every differentiable argument at sizes 1, 7 and 17, in double against central differences. Attention
// and rotary positions have files of their own; fused losses, dropout and low-rank products are in
// fused_gradients.cpp.

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using Vs = std::vector<V>;
using C = Context<Double>;

namespace {

constexpr Index sizes[] = {1, 7, 17};

/// The gradients of f with respect to all inputs are right to 1e-6.
void check(const std::function<V(C&, Vs&)>& f, std::vector<TensorOf<Double>> inputs) {
  const auto result = check_gradients(f, std::move(inputs));
  INFO(result.worst);
  CHECK(result.relative_error <= 1e-6);
}

}  // namespace

TEST_CASE("gradients of add, subtract, multiply, scale, sum and reshape") {
  for (const Index n : sizes) {
    const auto a = normal_tensor({n, n}, 1), b = normal_tensor({n, n}, 2);
    check([](C&, Vs& v) { return add(v[0], v[1]); }, {a, b});
    check([](C&, Vs& v) { return subtract(v[0], v[1]); }, {a, b});
    check([](C&, Vs& v) { return multiply(v[0], v[1]); }, {a, b});
    check([](C&, Vs& v) { return scale(v[0], -1.7); }, {a});
    check([](C&, Vs& v) { return sum(multiply(v[0], v[1])); }, {a, b});
    check([n](C&, Vs& v) { return multiply(reshape(v[0], {n * n}), reshape(v[1], {n * n})); }, {a, b});
  }
}

TEST_CASE("gradients when one variable is both arguments of an op, or its result is used again") {
  for (const Index n : sizes) {
    const auto a = normal_tensor({n, n}, 1);
    check([](C&, Vs& v) { return add(v[0], v[0]); }, {a});
    check([](C&, Vs& v) { return subtract(v[0], scale(v[0], 0.5)); }, {a});
    check([](C&, Vs& v) { return multiply(v[0], v[0]); }, {a});
    check([](C&, Vs& v) { return gated(Silu{}, v[0], v[0]); }, {a});
    check([](C&, Vs& v) { return matmul(v[0], v[0]); }, {a});
    check([](C&, Vs& v) { return matmul(v[0], v[0], true); }, {a});
    check([](C&, Vs& v) { return linear(v[0], v[0]); }, {a});
    check([](C&, Vs& v) { return add(multiply(softmax(v[0]), v[0]), activate(GeluErf{}, v[0])); }, {a});
  }
}

TEMPLATE_TEST_CASE("gradients of activations and gated units", "", Relu, GeluTanh, GeluErf, Silu) {
  for (const Index n : sizes) {
    const auto x = tensor_away_from_0({n, n}, 1), value = normal_tensor({n, n}, 2);
    check([](C&, Vs& v) { return activate(TestType{}, v[0]); }, {x});
    check([](C&, Vs& v) { return gated(TestType{}, v[0], v[1]); }, {x, value});
  }
}

TEST_CASE("gradients of linear, with and without bias") {
  for (const Index n : sizes) {
    const auto x = normal_tensor({n, n + 1}, 1), w = normal_tensor({n + 2, n + 1}, 2),
               b = normal_tensor({n + 2}, 3);
    check([](C&, Vs& v) { return linear(v[0], v[1]); }, {x, w});
    check([](C&, Vs& v) { return linear(v[0], v[1], &v[2]); }, {x, w, b});
  }
}

TEST_CASE("gradients of matmul, plain and transposed, batched") {
  for (const Index n : sizes) {
    check([](C&, Vs& v) { return matmul(v[0], v[1]); },
          {normal_tensor({n, n + 1}, 1), normal_tensor({n + 1, n + 2}, 2)});
    check([](C&, Vs& v) { return matmul(v[0], v[1]); },
          {normal_tensor({2, n, n + 1}, 1), normal_tensor({2, n + 1, n + 2}, 2)});
    check([](C&, Vs& v) { return matmul(v[0], v[1], true); },
          {normal_tensor({2, 2, n, n + 1}, 1), normal_tensor({2, 2, n + 2, n + 1}, 2)});
  }
}

TEST_CASE("gradients of layer norm and RMS norm") {
  for (const Index n : sizes)
    for (const Index rows : {1, 5}) {
      const auto x = normal_tensor({2, rows, n}, 1), gain = normal_tensor({n}, 2),
                 bias = normal_tensor({n}, 3);
      check([](C&, Vs& v) { return layer_norm(v[0], v[1], v[2], 1e-2); }, {x, gain, bias});
      check([](C&, Vs& v) { return rms_norm(v[0], v[1], 1e-2); }, {x, gain});
    }
}

TEST_CASE("gradients of softmax and log softmax") {
  for (const Index n : sizes) {
    check([](C&, Vs& v) { return softmax(v[0]); }, {normal_tensor({3, n}, 1)});
    check([](C&, Vs& v) { return log_softmax(v[0]); }, {normal_tensor({2, 3, n}, 1)});
  }
}

TEST_CASE("gradients of take_rows and embedding, with repeated, unused and scaled rows") {
  for (const Index n : sizes) {
    const auto table = normal_tensor({n, n + 1}, 1);
    const auto ids = index_tensor(indices(2 * n, n, 2));
    check([&](C&, Vs& v) { return embedding(v[0], ids); }, {table});
    check([&](C&, Vs& v) { return take_rows(v[0], ids, 2.5); }, {table});
    check([&](C&, Vs& v) { return add(take_rows(v[0], ids), scale(take_rows(v[0], ids, -1), 3)); }, {table});
    // the table's other use covers all of its gradient, before and after the scattered one
    check([&](C&, Vs& v) { return linear(embedding(v[0], ids), v[0]); }, {table});
    check([&](C&, Vs& v) { return add(sum(embedding(v[0], ids)), sum(multiply(v[0], v[0]))); }, {table});
    check([&](C&, Vs& v) { return add(sum(multiply(v[0], v[0])), sum(embedding(v[0], ids))); }, {table});
  }
}

TEST_CASE("gradients of cross-entropy, with ignored rows") {
  for (const Index n : sizes)
    for (const bool ignore : {false, true}) {
      auto targets = indices(n, n + 1, 3);
      if (ignore && n > 1) targets[1] = targets[static_cast<std::size_t>(n - 1)] = -100;
      const auto ids = index_tensor(targets);
      check([&](C&, Vs& v) { return scale(cross_entropy(v[0], ids), 3); }, {normal_tensor({n, n + 1}, 1)});
      check([&](C&, Vs& v) { return add(cross_entropy(v[0], ids), sum(v[0])); },
            {normal_tensor({n, n + 1}, 1)});
    }
}

TEST_CASE("gradients of the relative position bias") {
  for (const Index reach : sizes)
    for (const bool bidirectional : {false, true})
      check([=](C&, Vs& v) { return relative_position_bias(v[0], reach, bidirectional, 20); },
            {normal_tensor({8, 3}, 1)});
}

TEST_CASE("gradients through a checkpoint") {
  for (const Index n : sizes)
    check(
        [](C& c, Vs& v) {
          return checkpoint(
              c, [](C&, const V& x, const V& w) { return add(x, activate(GeluTanh{}, linear(x, w))); }, v[0],
              v[1]);
        },
        {normal_tensor({3, n}, 1), normal_tensor({n, n}, 2)});
}
