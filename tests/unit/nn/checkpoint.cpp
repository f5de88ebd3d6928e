// Recomputation of a transformer block, with dropout.
#include "retort/autograd/checkpoint.hpp"

#include "catch.hpp"
#include "retort/nn/attention.hpp"
#include "retort/nn/feed_forward.hpp"
#include "retort/nn/norm.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

struct Block {
  using Backend = D;
  nn::LayerNorm<D> norm1{"norm1", 6, 1e-5}, norm2{"norm2", 6, 1e-5};
  nn::SelfAttention<D> attention{
      "attention", {.width = 6, .heads = 2, .kv_heads = 2, .head_width = 3, .scale = 0.6, .causal = true}};
  nn::Mlp<D, GeluTanh> ff{"ff", 6, 10, true};
  std::shared_ptr<AttentionLayout> layout = std::make_shared<AttentionLayout>();

  Block() {
    layout->queries = layout->keys = kernels::Segments::packed({4, 3});
    each_parameter([](Parameter<D>& p) {
      if (p.shape().rank() == 2) init_normal(p, {1, 1}, 0.5);
    });
  }
  Variable<D> operator()(Context<D>& context, const Variable<D>& x) const {
    const auto h =
        add(x, dropout(context, attention(context, norm1(context, x), {.layout = layout}, 0), 0.3));
    return add(h, dropout(context, ff(context, norm2(context, h), 0.2), 0.3));
  }
  template <class F>
  void each_parameter(F&& f) {
    norm1.each_parameter(f), norm2.each_parameter(f), attention.each_parameter(f), ff.each_parameter(f);
  }
};

struct Run {
  std::vector<double> value, input_gradient, gradients;
  std::size_t nodes = 0;
  std::uint64_t draws = 0;
};

/// Two passes through the block, a dropout behind them; plain or recomputed.
Run run(Block& block, bool recompute) {
  clear_gradients(parameters(block));
  Tape<D> tape;
  Context<D> context{.tape = &tape, .training = true, .key = {3, 3}};
  const auto x = tape.leaf(TensorOf<D>::from({7, 6}, normals<double>(42, 9)));
  auto h = x;
  for (int pass = 0; pass < 2; ++pass) {
    const auto call = [&block](Context<D>& c, const Variable<D>& v) { return block(c, v); };
    h = recompute ? checkpoint(context, call, h) : block(context, h);
  }
  h = dropout(context, h, 0.5);
  Run out{h.value().to_host(), {}, {}, tape.size(), context.draws};
  tape.backward(h, TensorOf<D>::from(h.shape(), normals<double>(42, 10)));
  out.input_gradient = tape.gradient(x).to_host();
  out.gradients = gradients(parameters(block));
  return out;
}

}  // namespace

TEST_CASE(
    "a recomputed block has the values, gradients and random numbers of a plain one, and a shorter tape") {
  Block block;
  const Run plain = run(block, false), recomputed = run(block, true);
  CHECK(recomputed.value == plain.value);
  CHECK(recomputed.draws == plain.draws);
  CHECK(difference(recomputed.input_gradient, plain.input_gradient) <= 1e-13);
  CHECK(relative_difference(recomputed.gradients, plain.gradients) <= 1e-13);
  CHECK(recomputed.nodes < plain.nodes / 3);
}
