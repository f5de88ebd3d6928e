// What every family of decoders must do, whatever its policies: cached decoding, gradients, values of its
// own.
#include "all_families.hpp"
#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/generate/generate.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

Batch ragged() {
  Batch batch;
  for (std::uint64_t i = 0; i < 6; ++i)
    batch.push_back(indices(1 + static_cast<Index>(i * 7 % 9), 11, i),
                    indices(1 + static_cast<Index>(i * 5 % 12), 11, 50 + i), i);
  return batch;
}

}  // namespace

TEST_CASE("every family is a language model behind AnyModel, with its own name") {
  STATIC_REQUIRE(LanguageModel<AnyModel<D>>);
  const char* names[] = {"gpt2", "opt", "opt", "gptj", "llama", "t5", "t5_v1_1"};
  const auto all = all_families<D>();
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i].second.family() == std::string(names[i]));
}

TEST_CASE("decoding with the cache equals the forward pass in every family") {
  const Batch batch = ragged();
  for (const auto& [name, model] : all_families<D>()) {
    CAPTURE(name);
    const Index v = model.vocabulary();
    for (int i = 0; i < batch.size(); ++i) {
      const Batch one = batch.slice(i, i + 1);
      const auto right = response_logits(model, one.prompts, one.responses).to_host();
      auto state = model.start(one.prompts, one.responses.longest());
      std::vector<double> given;
      for (int t = 0; t < one.responses.longest(); ++t) {
        TensorOf<D> logits({1, v});
        project(model.head(), 1, std::as_const(state.hidden).data(), logits.data());
        const auto row = logits.to_host();
        given.insert(given.end(), row.begin(), row.end());
        if (t + 1 < one.responses.longest())
          model.advance(state, one.responses[0].subspan(static_cast<std::size_t>(t), 1));
      }
      CHECK(difference(given, right) <= 1e-11);
    }
  }
}

TEST_CASE("generated tokens of a batch have the log-probabilities of the forward pass in every family") {
  const Batch batch = ragged();
  for (const auto& [name, model] : all_families<D>()) {
    CAPTURE(name);
    const auto drawn = generate(model, batch.prompts, batch.ids, Temperature{1},
                                {.max_tokens = 12, .end_token = 1, .key = {5}});
    CHECK(difference(drawn.log_probabilities,
                     response_log_probabilities(model, batch.prompts, drawn.responses)) <= 1e-11);
  }
}

TEST_CASE("gradients of every family") {
  const Batch batch = ragged();
  for (auto& [name, model] : all_families<D>()) {
    const auto check = check_parameter_gradients<D>(
        [&](Context<D>& context) { return model.hidden(context, batch.prompts, batch.responses); },
        parameters(model), 4);
    INFO(name << ": " << check.worst);
    CHECK(check.relative_error <= 1e-6);
  }
}

TEST_CASE("a model without a key has the parameters of one with it, and weights drawn later are the same") {
  for (auto& [name, drawn] : all_families<D>())
    drawn.visit([&]<class M>(M& model) {
      M undrawn(model.config(), std::nullopt);
      const auto a = parameters(model), b = parameters(undrawn);
      REQUIRE(a.size() == b.size());
      for (std::size_t i = 0; i < a.size(); ++i) {
        CHECK(a[i]->name == b[i]->name);
        CHECK(a[i]->shape() == b[i]->shape());
        CHECK(a[i]->decay == b[i]->decay);
      }
      copy_parameters(a, b);
      const Batch batch = ragged();
      CHECK(response_logits(undrawn, batch.prompts, batch.responses).to_host() ==
            response_logits(model, batch.prompts, batch.responses).to_host());
    });
}

TEST_CASE("dropout of embeddings, attention and layers are told apart") {
  const Batch batch = ragged();
  const auto hidden = [&](DecoderConfig c) {
    const Decoder<D, Gpt2> model(c, {1});
    Context<D> context{.training = true, .key = {3}};
    return model.hidden(context, batch.prompts, batch.responses).value().to_host();
  };
  DecoderConfig c = tiny_decoder_config();
  const auto none = hidden(c);
  std::vector<std::vector<double>> all{none};
  for (auto which :
       {&DecoderConfig::dropout, &DecoderConfig::embedding_dropout, &DecoderConfig::attention_dropout}) {
    DecoderConfig one = c;
    one.embedding_dropout = one.attention_dropout = 0;
    one.*which = 0.5;
    for (const auto& other : all) CHECK(hidden(one) != other);
    all.push_back(hidden(one));
  }
}

TEST_CASE("a decoder's sizes that make no model are refused") {
  const auto refusal = [](auto change) {
    DecoderConfig c = tiny_decoder_config();
    change(c);
    return message_of<ValueError>([&] { (void)Decoder<D, Llama>(c, std::nullopt); });
  };
  CHECK(refusal([](DecoderConfig& c) { c.kv_heads = 2; }) ==
        "[decoder] 3 heads cannot share 2 key/value heads");
  CHECK(refusal([](DecoderConfig& c) { c.vocabulary = 0; }) ==
        "[decoder] vocabulary is 0, expected at least 1");
  CHECK(refusal([](DecoderConfig& c) { c.head_width = -1; }) ==
        "[decoder] head_width is -1, expected at least 0");
  CHECK(refusal([](DecoderConfig& c) { c.head_width = 5; }) ==
        "[rotary] 5 columns of a head of 5: expected an even number of at most 5");
}
