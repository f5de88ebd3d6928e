#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/kernels/cpu/random.hpp"
#include "retort/ops/attention.hpp"

using namespace retort;

namespace {

using B = Cpu<double>;

TensorOf<B> random_tensor(const Shape& shape, std::uint64_t seed) {
  TensorOf<B> t(shape);
  kernels::fill_normal(CpuDevice{}, RandomKey{seed, 1}, t.size(), 0.0, 1.0, t.data());
  return t;
}

std::shared_ptr<const AttentionLayout> packed(const std::vector<std::int32_t>& lengths) {
  auto layout = std::make_shared<AttentionLayout>();
  layout->queries = layout->keys = kernels::Segments::packed(lengths);
  return layout;
}

}  // namespace

TEST_CASE("attention with dropped weights has the right gradients") {
  const auto layout = packed({7, 1, 3});
  for (const bool causal : {false, true}) {
    const AttentionOptions options{
        .heads = 4, .kv_heads = 2, .scale = 0.7, .causal = causal, .dropout = 0.4, .key = {3, 4}};
    const auto check =
        check_gradients([&](Context<B>&, auto& v) { return self_attention(options, layout, v[0], &v[1]); },
                        {random_tensor({11, 24}, 1), random_tensor({4, 13}, 2)});
    INFO(check.worst);
    CHECK(check.relative_error < 1e-6);
  }
}

TEST_CASE("the mean over many masks of attention with dropped weights is attention without") {
  const auto layout = packed({5});
  const Variable<B> qkv(random_tensor({5, 12}, 3));
  const auto plain = self_attention(AttentionOptions{.heads = 2, .kv_heads = 2}, layout, qkv);
  constexpr int masks = 20000;
  std::vector<double> mean(static_cast<std::size_t>(plain.value().size()), 0);
  for (std::uint64_t m = 0; m < masks; ++m) {
    const auto dropped = self_attention(
        AttentionOptions{.heads = 2, .kv_heads = 2, .dropout = 0.3, .key = RandomKey{9}.fork(m)}, layout,
        qkv);
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += dropped.data()[i] / masks;
  }
  for (std::size_t i = 0; i < mean.size(); ++i) CHECK(std::abs(mean[i] - plain.data()[i]) < 0.03);
}

TEST_CASE("the same key drops the same attention weights, another key others, and 1 is no probability") {
  const auto layout = packed({6});
  const Variable<B> qkv(random_tensor({6, 6}, 4));
  const auto run = [&](double p, RandomKey key) {
    return self_attention(AttentionOptions{.dropout = p, .key = key}, layout, qkv).value().to_host();
  };
  CHECK(run(0.5, {1, 2}) == run(0.5, {1, 2}));
  CHECK(run(0.5, {1, 2}) != run(0.5, {1, 3}));
  CHECK_THROWS_AS(run(1.0, {}), ValueError);
}
