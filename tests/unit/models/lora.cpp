// Adapters on whole models: what they change, what is trained, and that merging leaves the function alone.
#include "retort/models/lora.hpp"

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/optim/adamw.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;

namespace {

template <class Model>
auto logits(const Model& model, const Batch& batch) {
  return response_logits(model, batch.prompts, batch.responses).to_host();
}

/// A sum over all logits' log-probabilities of the responses: reaches every adapter.
template <class Model>
Variable<typename Model::Backend> loss(Context<typename Model::Backend>& context, const Model& model,
                                       const Batch& batch) {
  using B = typename Model::Backend;
  const Index n = batch.responses.total();
  const auto hidden = model.hidden(context, batch.prompts, batch.responses);
  return head_cross_entropy(context, model.head(), hidden, IndexTensor<B>::from({n}, batch.responses.tokens),
                            TensorOf<B>::full({n}, typename B::Scalar(1)))
      .value;
}

/// b is 0 at first; numbers in it make the adapters matter.
template <class Model>
void fill_adapters(Model& model) {
  std::uint64_t stream = 5;
  for (auto* p : parameters(model))
    if (p->trainable)
      p->value = TensorOf<typename Model::Backend>::from(
          p->shape(), normals<typename Model::Backend::Scalar>(p->value.size(), ++stream, 0.2));
}

/// A whole layer, two parts of a fused projection of three, and feed-forward layers.
std::vector<LoraSite> some_sites(const std::string& block) {
  return {{block + ".attention.qkv", 0, 4},
          {block + ".attention.qkv", 8},
          {block + ".attention.output"},
          {block + ".ff.up"},
          {block + ".ff.down"}};
}

}  // namespace

TEST_CASE("fresh adapters leave a model's logits alone, and only they are trained") {
  auto model = tiny_decoder<Cpu<double>>(1);
  const Batch batch = tiny_batch(3);
  const auto before = logits(model, batch);
  const Index all = parameter_count(parameters(model));
  add_lora(model, some_sites("block.1"), {.rank = 2, .alpha = 3}, RandomKey{4});
  CHECK(logits(model, batch) == before);
  CHECK(has_lora(model));
  // Rows 0-3 and 8-35 of qkv, output 12 x 12, up 20 x 12, down 12 x 20: 2 (rows + inputs) each.
  const Index added = 2 * ((4 + 12) + (28 + 12) + (12 + 12) + (20 + 12) + (12 + 20));
  CHECK(trainable_count(parameters(model)) == added);
  CHECK(parameter_count(parameters(model)) == all + added);
  for (const auto* p : parameters(model))
    CHECK(p->trainable == (p->name.find(".lora_") != std::string::npos));

  const auto frozen = weights(parameters(model));
  auto optimizer = AdamW{.learning_rate = 0.1}.on(parameters(model));
  for (int step = 0; step < 2; ++step) {
    Tape<Cpu<double>> tape;
    Context<Cpu<double>> context{.tape = &tape};
    tape.backward(loss(context, model, batch));
    optimizer.step({});
  }
  std::size_t at = 0;
  const auto trained = weights(parameters(model));
  for (const auto* p : parameters(model)) {
    const auto n = static_cast<std::size_t>(p->value.size());
    const bool same = std::equal(frozen.begin() + static_cast<std::ptrdiff_t>(at),
                                 frozen.begin() + static_cast<std::ptrdiff_t>(at + n),
                                 trained.begin() + static_cast<std::ptrdiff_t>(at));
    CAPTURE(p->name);
    CHECK(same == !p->trainable);
    at += n;
  }
  CHECK(difference(logits(model, batch), before) > 1e-3);
}

TEMPLATE_TEST_CASE("a merged model has the logits of the model with adapters", "", float, double) {
  using B = Cpu<TestType>;
  const auto check = [](auto model, const std::string& block, double tolerance) {
    const Batch batch = tiny_batch(4);
    const auto base = logits(model, batch);
    const auto names = parameters(model).size();
    add_lora(model, some_sites(block), {.rank = 3, .alpha = 6}, RandomKey{4});
    fill_adapters(model);
    const auto unmerged = logits(model, batch);
    CHECK(difference(unmerged, base) > 0.01);
    merge_lora(model);
    CHECK_FALSE(has_lora(model));
    CHECK(parameters(model).size() == names);
    CHECK(difference(logits(model, batch), unmerged) < tolerance);
  };
  const double tolerance = sizeof(TestType) == 4 ? 1e-5 : 1e-13;
  check(tiny_decoder<B>(1), "block.0", tolerance);
  check(tiny_t5<B>(2), "decoder.block.1", tolerance);
}

TEST_CASE("the gradients of all adapters are those of finite differences") {
  const Batch batch = tiny_batch(2);
  const auto check = [&](auto model) {
    std::vector<LoraSite> sites;
    model.each_linear([&](auto& layer) { sites.push_back({layer.name()}); });
    add_lora(model, sites, {.rank = 2, .alpha = 2}, RandomKey{4});
    fill_adapters(model);
    ParameterList<Cpu<double>> trained;
    for (auto* p : parameters(model))
      if (p->trainable) trained.push_back(p);
    CHECK(trained.size() == 2 * sites.size());
    const auto result =
        check_parameter_gradients([&](auto& context) { return loss(context, model, batch); }, trained, 4);
    CAPTURE(result.worst);
    CHECK(result.relative_error < 1e-5);
  };
  check(tiny_decoder<Cpu<double>>(1));
  check(tiny_t5<Cpu<double>>(2));
}

TEST_CASE("adapters begin as PEFT's do: a uniform in +-1/sqrt(inputs), b zero, whatever else there is") {
  auto model = tiny_decoder<Cpu<float>>(1), other = tiny_decoder<Cpu<float>>(2);
  add_lora(model, std::vector<LoraSite>{{"block.0.ff.up"}, {"block.1.ff.up"}}, {.rank = 8}, RandomKey{4});
  add_lora(other, std::vector<LoraSite>{{"block.1.ff.up"}}, {.rank = 8}, RandomKey{4});
  const auto find = [](auto& m, const std::string& name) {
    for (auto* p : parameters(m))
      if (p->name == name) return p->value.to_host();
    return std::vector<float>{};
  };
  const auto a = find(model, "block.1.ff.up.lora_a");
  CHECK(a.size() == 8 * 12);
  CHECK(a == find(other, "block.1.ff.up.lora_a"));
  CHECK(a != find(model, "block.0.ff.up.lora_a"));
  const float bound = 1 / std::sqrt(12.0f);
  const auto [low, high] = std::ranges::minmax_element(a);
  CHECK((*low > -bound && *low < -0.9f * bound && *high<bound&& * high> 0.9f * bound));
  CHECK(find(model, "block.1.ff.up.lora_b") == std::vector<float>(20 * 8, 0));
}

TEST_CASE("dropout acts on the adapters' input while training, and never else") {
  auto model = tiny_decoder<Cpu<double>>(1);
  const Batch batch = tiny_batch(3);
  add_lora(model, lora_sites(model, {"ff.up"}), {.rank = 2, .dropout = 0.5}, RandomKey{4});
  fill_adapters(model);
  const auto value = [&](bool training, std::uint64_t seed) {
    Context<Cpu<double>> context{.training = training, .key = RandomKey{seed}};
    return loss(context, model, batch).item();
  };
  CHECK(value(false, 1) == value(false, 2));
  CHECK(value(true, 1) == value(true, 1));
  CHECK(value(true, 1) != value(true, 2));
  CHECK(value(true, 1) != value(false, 1));
}

TEST_CASE("layers are chosen by their name or its end; unknown ones are refused with those that there are") {
  auto model = tiny_decoder<Cpu<float>>(1);
  CHECK(lora_sites(model, {"attention.qkv"}) ==
        std::vector<LoraSite>{{"block.0.attention.qkv"}, {"block.1.attention.qkv"}});
  CHECK(lora_sites(model, {"block.1.ff.up", "up"}) ==
        std::vector<LoraSite>{{"block.1.ff.up"}, {"block.0.ff.up"}});
  CHECK(message_of<ValueError>([&] {
          (void)lora_sites(model, {"up", "kv"});
        }) ==
        "[lora] no layer is called 'kv', expected some of attention.qkv, attention.output, ff.up, ff.down");
  const auto refused = [&](std::vector<LoraSite> sites, const LoraConfig& config) {
    const auto message = message_of<ValueError>([&] { add_lora(model, sites, config, RandomKey{}); });
    CHECK_FALSE(has_lora(model));
    CHECK(trainable_count(parameters(model)) == parameter_count(parameters(model)));
    return message;
  };
  CHECK(refused({{"block.0.ff.up"}}, {.rank = 0}) ==
        "[lora] rank must be at least 1; given lora(rank 0, alpha 16, dropout 0)");
  CHECK(refused({{"block.2.ff.up"}}, {}) == "[lora] there is no linear layer 'block.2.ff.up'");
  CHECK(refused({{"block.0.ff.up", 5, 16}}, {}) == "[lora] rows [5, 21) of block.0.ff.up, which has 20");
  CHECK(refused({{"block.0.ff.up", 0, 6}, {"block.0.ff.up", 5, 6}}, {}) ==
        "[lora] rows [5, 11) of block.0.ff.up would have two adapters");
}

TEST_CASE("a copy of a model has adapters of its own") {
  auto model = tiny_decoder<Cpu<double>>(1);
  const Batch batch = tiny_batch(3);
  add_lora(model, lora_sites(model, {"ff.up"}), {.rank = 2}, RandomKey{4});
  fill_adapters(model);
  auto copy = model;
  CHECK(logits(copy, batch) == logits(model, batch));
  const auto before = logits(model, batch);
  merge_lora(copy);
  CHECK(logits(model, batch) == before);
  CHECK(has_lora(model));
}

TEST_CASE("weights are frozen by patterns of their names") {
  CHECK(matches_pattern("block.0.ff.up.weight", "block.0.*"));
  CHECK(matches_pattern("block.0.ff.up.weight", "*.ff.*.weight"));
  CHECK(matches_pattern("token.weight", "token.weight*"));
  CHECK(matches_pattern("block.3.x", "block.?.x"));
  CHECK(matches_pattern("aab", "*a*b"));
  CHECK_FALSE(matches_pattern("block.10.ff", "block.1.*"));
  CHECK_FALSE(matches_pattern("token.weight", "token"));
  CHECK_FALSE(matches_pattern("", "?"));
  auto model = tiny_decoder<Cpu<float>>(1);
  const auto list = parameters(model);
  CHECK(freeze(list, "block.0.ff.*") == 4);
  CHECK(trainable_count(list) == parameter_count(list) - (2 * 12 * 20 + 12 + 20));
  CHECK(message_of<ValueError>([&] {
          freeze(list, "blok*");
        }).starts_with("[freeze] no parameter fits 'blok*'"));
}

TEST_CASE("a tied head and its table stay one weight in a copy and in training") {
  auto model = tiny_decoder<Cpu<double>>(1);
  auto copy = model;
  CHECK(copy.head().weight == parameters(copy)[0]);
  CHECK(copy.head().weight != model.head().weight);
  auto optimizer = AdamW{.learning_rate = 0.1}.on(parameters(copy));
  Tape<Cpu<double>> tape;
  Context<Cpu<double>> context{.tape = &tape};
  tape.backward(loss(context, copy, tiny_batch(3)));
  optimizer.step({});
  CHECK(copy.head().weight == parameters(copy)[0]);
  CHECK(copy.head().weight->value.to_host() != model.head().weight->value.to_host());
}
