// Fresh weights and copies of weights.
#include <map>

#include "catch.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

/// Mean and standard deviation of rows [first, last) of a parameter are those of N(0, deviation^2).
void check_normal(const Parameter<F>& p, double deviation, Index first = 0, Index last = -1) {
  INFO(p.name);
  const auto x = p.value.slice(first, last < 0 ? p.shape()[0] : last).to_host();
  const auto n = static_cast<double>(x.size());
  double sum = 0, squares = 0, fourth = 0;
  for (const double v : x) sum += v, squares += v * v, fourth += v * v * v * v;
  CHECK(std::abs(sum / n) <= 4.5 * deviation / std::sqrt(n));
  CHECK(std::abs(std::sqrt(squares / n) / deviation - 1) <= 4.5 / std::sqrt(2 * n));
  if (n > 5000)
    CHECK(fourth / n / std::pow(deviation, 4) == Approx(3).epsilon(0.15));  // the tails are normal
}

template <class Model>
std::map<std::string, Parameter<F>*> by_name(Model& model) {
  std::map<std::string, Parameter<F>*> map;
  for (auto* p : parameters(model)) map[p->name] = p;
  return map;
}

void check_constant(const Parameter<F>& p, float value) {
  INFO(p.name);
  const auto x = p.value.to_host();
  CHECK(std::ranges::all_of(x, [value](float v) { return v == value; }));
}

}  // namespace

TEST_CASE("a fresh decoder has GPT-2's weights: N(0, .02^2), residual projections / sqrt(2 layers)") {
  DecoderConfig config{
      .vocabulary = 300, .positions = 64, .width = 48, .layers = 3, .heads = 4, .hidden = 192};
  Decoder<F> model(config, {7, 7});
  const auto p = by_name(model);
  CHECK(p.size() == 2 + 3 * 12 + 2);
  const double residual = 0.02 / std::sqrt(6.0);
  check_normal(*p.at("token.weight"), 0.02);
  check_normal(*p.at("position.weight"), 0.02);
  for (const std::string block : {"block.0.", "block.1.", "block.2."}) {
    check_normal(*p.at(block + "attention.qkv.weight"), 0.02);
    check_normal(*p.at(block + "attention.output.weight"), residual);
    check_normal(*p.at(block + "ff.up.weight"), 0.02);
    check_normal(*p.at(block + "ff.down.weight"), residual);
    for (const std::string name : {"attention.qkv.bias", "attention.output.bias", "ff.up.bias",
                                   "ff.down.bias", "attention_norm.bias", "ff_norm.bias"})
      check_constant(*p.at(block + name), 0);
    check_constant(*p.at(block + "attention_norm.gain"), 1);
    check_constant(*p.at(block + "ff_norm.gain"), 1);
  }
  CHECK(&*model.head().weight == p.at("token.weight"));  // tied
  CHECK(model.head().scale == 1);
}

TEST_CASE("a fresh encoder-decoder has T5's weights") {
  EncoderDecoderConfig config{.vocabulary = 300,
                              .width = 48,
                              .encoder_layers = 2,
                              .decoder_layers = 1,
                              .heads = 4,
                              .head_width = 16,
                              .hidden = 96};
  EncoderDecoder<F, T5> model(config, {7, 8});
  const auto p = by_name(model);
  const double width = std::pow(48, -0.5), q = std::pow(48 * 16, -0.5), inner = std::pow(4 * 16, -0.5);
  check_normal(*p.at("shared.weight"), 1);
  check_normal(*p.at("encoder.position.weight"), width);
  check_normal(*p.at("decoder.position.weight"), width);
  for (const std::string block : {"encoder.block.0.", "encoder.block.1.", "decoder.block.0."}) {
    check_normal(*p.at(block + "attention.qkv.weight"), q, 0, 64);
    check_normal(*p.at(block + "attention.qkv.weight"), width, 64, 192);
    check_normal(*p.at(block + "attention.output.weight"), inner);
    check_normal(*p.at(block + "ff.up.weight"), width);
    check_normal(*p.at(block + "ff.down.weight"), std::pow(96, -0.5));
    check_constant(*p.at(block + "attention_norm.gain"), 1);
  }
  check_normal(*p.at("decoder.block.0.cross.q.weight"), q);
  check_normal(*p.at("decoder.block.0.cross.kv.weight"), width);
  check_normal(*p.at("decoder.block.0.cross.output.weight"), inner);
  CHECK(&*model.head().weight == p.at("shared.weight"));
  CHECK(model.head().scale == Approx(width));

  EncoderDecoder<F, T5v11> v11(config, {7, 8});
  const auto p11 = by_name(v11);
  check_normal(*p11.at("head.weight"), 1);
  check_normal(*p11.at("decoder.block.0.ff.gate.weight"), width);
  CHECK(&*v11.head().weight == p11.at("head.weight"));
  CHECK(v11.head().scale == 1);
}

TEST_CASE("fresh weights depend on the key and the name alone, and are different from name to name") {
  auto config = tiny_decoder_config();
  auto a = tiny_decoder<F>(1, config), b = tiny_decoder<F>(1, config), c = tiny_decoder<F>(2, config);
  config.layers = 3;
  auto deeper = tiny_decoder<F>(1, config);
  CHECK(weights(parameters(a)) == weights(parameters(b)));
  CHECK(weights(parameters(a)) != weights(parameters(c)));
  const auto pa = by_name(a), pd = by_name(deeper);
  CHECK(pa.at("block.1.ff.up.weight")->value.to_host() == pd.at("block.1.ff.up.weight")->value.to_host());
  CHECK(pa.at("block.0.ff.up.weight")->value.to_host() != pa.at("block.1.ff.up.weight")->value.to_host());
}

TEST_CASE("copied weights make an equal model; models of another structure are refused, by name and shape") {
  auto from = tiny_t5<F>(1), to = tiny_t5<F>(2);
  copy_parameters(parameters(from), parameters(to));
  CHECK(weights(parameters(from)) == weights(parameters(to)));

  auto config = tiny_t5_config();
  config.hidden = 21;
  auto wider = tiny_t5<F>(1, config);
  CHECK(message_of<ShapeError>([&] { copy_parameters(parameters(wider), parameters(to)); }) ==
        "[copy_parameters] encoder.block.0.ff.up.weight has shape (21, 12), expected (20, 12)");
  config = tiny_t5_config();
  config.encoder_layers = 1;
  auto shallower = tiny_t5<F>(1, config);
  CHECK_THROWS_AS(copy_parameters(parameters(shallower), parameters(to)), ShapeError);
  auto other = tiny_t5<F, T5v11>(1);
  CHECK_THROWS_AS(copy_parameters(parameters(other), parameters(to)), ShapeError);
}

TEST_CASE("a copy of a model is a model of its own") {
  auto model = tiny_decoder<F>(1);
  const Batch batch = tiny_batch(2);
  const auto before = response_logits(model, batch.prompts, batch.responses).to_host();
  auto copy = model;
  for (auto* p : parameters(copy)) p->value.data()[0] += 1;
  CHECK(response_logits(model, batch.prompts, batch.responses).to_host() == before);
  CHECK(response_logits(copy, batch.prompts, batch.responses).to_host() != before);
}
