// Layers against numbers computed by hand, and their initial values.
#include "catch.hpp"
#include "retort/nn/attention.hpp"
#include "retort/nn/feed_forward.hpp"
#include "retort/nn/norm.hpp"
#include "retort/nn/position.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

Variable<D> rows(const Shape& shape, std::initializer_list<double> values) {
  return Variable<D>(TensorOf<D>::from(shape, values));
}

void set(Parameter<D>& p, std::initializer_list<double> values) {
  p.value = TensorOf<D>::from(p.shape(), values);
}

void check_values(const Variable<D>& given, const std::vector<double>& right) {
  CHECK(difference(given.value().to_host(), right) <= 1e-12);
}

}  // namespace

TEST_CASE("a linear layer is x w' + bias") {
  Context<D> context;
  nn::Linear<D> layer("l", 3, 2, true);
  set(layer.weight, {1, 2, 3, 4, 5, 6});
  check_values(layer(context, rows({2, 3}, {1, 0, -1, 2, 1, 0})), {-2, -2, 4, 13});  // a fresh bias is 0
  set(*layer.bias, {10, 20});
  check_values(layer(context, rows({2, 3}, {1, 0, -1, 2, 1, 0})), {8, 18, 14, 33});
  CHECK(layer.weight.name == "l.weight");
  CHECK(layer.bias->name == "l.bias");
  CHECK(layer.weight.decay);
  CHECK_FALSE(layer.bias->decay);
  CHECK_FALSE(nn::Linear<D>("l", 3, 2, false).bias);
  CHECK_THROWS_AS(layer(context, rows({1, 2}, {1, 2})), ShapeError);
}

TEST_CASE("norms: mean 0 and variance 1, or mean square 1, times gain") {
  Context<D> context;
  nn::LayerNorm<D> layer_norm("n", 4, 0);
  check_values(layer_norm(context, rows({1, 4}, {1, 1, 3, 3})), {-1, -1, 1, 1});
  set(layer_norm.gain, {1, 2, 3, 4});
  set(layer_norm.bias, {0, 0, 10, 10});
  check_values(layer_norm(context, rows({1, 4}, {1, 1, 3, 3})), {-1, -2, 13, 14});
  nn::RmsNorm<D> rms_norm("n", 2, 0);
  check_values(rms_norm(context, rows({2, 2}, {3, 3, -7, 1})), {1, 1, -1.4, 0.2});
  set(rms_norm.gain, {5, 10});
  check_values(rms_norm(context, rows({1, 2}, {-7, 1})), {-7, 2});
  CHECK_FALSE(rms_norm.gain.decay);
  CHECK_FALSE(layer_norm.gain.decay);
  nn::RmsNorm<D> careful("n", 2, 1);
  check_values(careful(context, rows({1, 2}, {0, 0})), {0, 0});
}

TEST_CASE("feed-forward layers: down(act(up x)), and down(act(gate x) * up x)") {
  Context<D> context;
  nn::Mlp<D, Relu> mlp("ff", 2, 3, true);
  set(mlp.up.weight, {1, 0, 0, 1, -1, -1});
  set(mlp.down.weight, {1, 2, 3, 4, 5, 6});
  set(*mlp.down.bias, {100, 200});
  // up: (2, -3, 1), relu: (2, 0, 1)
  check_values(mlp(context, rows({1, 2}, {2, -3}), 0), {105, 214});

  nn::GatedMlp<D, Silu> gated("ff", 1, 2, false);
  set(gated.gate.weight, {1, -1});
  set(gated.up.weight, {2, 3});
  set(gated.down.weight, {1, 10});
  const double s = 1 / (1 + std::exp(-2.0));  // silu(2) = 2 s, silu(-2) = -2 (1 - s)
  check_values(gated(context, rows({1, 1}, {2}), 0), {2 * s * 4 - 2 * (1 - s) * 6 * 10});
}

TEST_CASE("learned positions are rows of a table") {
  Context<D> context;
  nn::LearnedPositions<D> positions("p", 3, 2);
  set(positions.table, {1, 2, 3, 4, 5, 6});
  CHECK(positions.limit() == 3);
  check_values(positions(context, IndexTensor<D>::from({3}, {2, 0, 2})), {5, 6, 1, 2, 5, 6});
  CHECK_THROWS_AS(positions(context, IndexTensor<D>::from({1}, {3})), ShapeError);
}

TEST_CASE("relative positions: T5's buckets, exact at first, then logarithmic") {
  Context<D> context;
  nn::RelativePositions<D> causal("p", 8, 1, false, 16), both("p", 8, 1, true, 16);
  set(causal.table, {0, 1, 2, 3, 4, 5, 6, 7});
  set(both.table, {0, 1, 2, 3, 4, 5, 6, 7});
  // Columns: distances -20 .. 20. From 4 on, log2 of n / 4: 4 to 5 | 6 to 7 (4 sqrt 2 = 5.7) | 8 to 11 | 12
  // and more.
  const auto c = causal(context, 21).value().to_host();
  for (const auto& [distance, bucket] : {std::pair{0, 0},
                                         {-1, 1},
                                         {-3, 3},
                                         {-4, 4},
                                         {-5, 4},
                                         {-6, 5},
                                         {-7, 5},
                                         {-8, 6},
                                         {-11, 6},
                                         {-12, 7},
                                         {-16, 7},
                                         {-20, 7},
                                         {1, 0},
                                         {20, 0}})
    CHECK(c[static_cast<std::size_t>(20 + distance)] == bucket);
  // Half of the buckets for keys after the query; 0 and 1 exact, then from 2 to 16 in two.
  const auto b = both(context, 21).value().to_host();
  for (const auto& [distance, bucket] : {std::pair{0, 0},
                                         {-1, 1},
                                         {-2, 2},
                                         {-5, 2},
                                         {-6, 3},
                                         {-20, 3},
                                         {1, 5},
                                         {2, 6},
                                         {5, 6},
                                         {6, 7},
                                         {20, 7}})
    CHECK(b[static_cast<std::size_t>(20 + distance)] == bucket);
}

TEST_CASE("self-attention by hand: two tokens, one head of width 1") {
  Context<D> context;
  nn::SelfAttention<D> layer(
      "a", {.width = 1, .heads = 1, .kv_heads = 1, .head_width = 1, .scale = 2, .causal = true});
  set(layer.qkv.weight, {1, 3, 10});  // q = x, k = 3 x, v = 10 x
  set(layer.output.weight, {0.5});
  auto layout = std::make_shared<AttentionLayout>();
  layout->queries = layout->keys = kernels::Segments::packed({2});
  const Variable<D> x = rows({2, 1}, {1, 2});
  // The first token sees itself: 10 / 2. The second: scores 2 * 2 * 3 * (1, 2) = (12, 24).
  const double p = 1 / (1 + std::exp(12.0));  // of the first
  check_values(layer(context, x, {.layout = layout}, 0), {5, 0.5 * (10 * p + 20 * (1 - p))});
  // With a bias by distance (-1, 0, +1) of (11.5, 0, -): scores (23.5, 24).
  const Variable<D> bias = rows({1, 3}, {11.5, 0, 99});
  const double r = 1 / (1 + std::exp(0.5));
  check_values(layer(context, x, {.layout = layout, .bias = &bias}, 0), {5, 0.5 * (10 * r + 20 * (1 - r))});
}

TEST_CASE("key/value heads that are shared by query heads give what copies of them would") {
  Context<D> context;
  const nn::AttentionConfig grouped{
      .width = 4, .heads = 4, .kv_heads = 2, .head_width = 3, .scale = 0.6, .causal = true};
  auto each = grouped;
  each.kv_heads = 4;
  nn::SelfAttention<D> a("a", grouped), b("b", each);
  const auto q = normals<double>(12 * 4, 1), k = normals<double>(6 * 4, 2), v = normals<double>(6 * 4, 3);
  const auto put = [](Parameter<D>& p, std::initializer_list<std::vector<double>> parts) {
    std::vector<double> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    p.value = TensorOf<D>::from(p.shape(), all);
  };
  const auto twice = [](const std::vector<double>& x) {  // each head of 3 rows of 4, twice
    std::vector<double> y;
    for (std::size_t head = 0; head < x.size(); head += 12)
      for (int copy = 0; copy < 2; ++copy)
        y.insert(y.end(), x.begin() + static_cast<std::ptrdiff_t>(head),
                 x.begin() + static_cast<std::ptrdiff_t>(head + 12));
    return y;
  };
  put(a.qkv.weight, {q, k, v});
  put(b.qkv.weight, {q, twice(k), twice(v)});
  put(a.output.weight, {normals<double>(48, 4)});
  put(b.output.weight, {normals<double>(48, 4)});
  auto layout = std::make_shared<AttentionLayout>();
  layout->queries = layout->keys = kernels::Segments::packed({3, 2});
  const Variable<D> x(TensorOf<D>::from({5, 4}, normals<double>(20, 5)));
  check_values(a(context, x, {.layout = layout}, 0), b(context, x, {.layout = layout}, 0).value().to_host());
}

TEST_CASE("keys for initial values depend on key and name") {
  CHECK(key_for({1, 2}, "a") == key_for({1, 2}, "a"));
  CHECK_FALSE(key_for({1, 2}, "a") == key_for({1, 2}, "b"));
  CHECK_FALSE(key_for({1, 2}, "a") == key_for({1, 3}, "a"));
}
