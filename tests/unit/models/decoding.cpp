// Decoding with a cache against the forward pass, and what may depend on what.
#include "catch.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;

namespace {

/// The logits of `responses` by feeding them token by token to the cached model; sequences leave the batch as
/// they end, and the batch is reversed in between. In the order of response_logits.
template <class Model>
auto cached_logits(const Model& model, const Sequences& prompts, const Sequences& responses) {
  using T = typename Model::Backend::Scalar;
  const Index v = model.vocabulary();
  std::vector<T> all(static_cast<std::size_t>(responses.total() * v));
  auto state = model.start(prompts, std::max(1, responses.longest()));
  std::vector<int> live(static_cast<std::size_t>(prompts.size()));
  for (int i = 0; i < prompts.size(); ++i) live[static_cast<std::size_t>(i)] = i;
  for (int t = 0; !live.empty(); ++t) {
    TensorOf<typename Model::Backend> logits({state.sequences(), v});
    project(model.head(), state.sequences(), std::as_const(state.hidden).data(), logits.data());
    std::vector<std::int32_t> kept;
    Ids next;
    std::vector<int> still;
    for (std::size_t n = live.size(); n-- > 0;) {
      const int i = live[n];
      if (t < responses.length(i))
        std::copy_n(std::as_const(logits).data() + static_cast<Index>(n) * v, v,
                    all.begin() + (responses.offsets[static_cast<std::size_t>(i)] + t) * v);
      if (t + 1 >= responses.length(i)) continue;
      kept.push_back(static_cast<std::int32_t>(n));
      next.push_back(responses[i][static_cast<std::size_t>(t)]);
      still.push_back(i);
    }
    live = still;
    if (live.empty()) break;
    state.select(kept);
    model.advance(state, next);
  }
  return all;
}

/// Prompts of 1 to 9 tokens, responses of 1 to 12.
Batch ragged() {
  Batch batch;
  for (std::uint64_t i = 0; i < 10; ++i)
    batch.push_back(indices(1 + static_cast<Index>(i * 7 % 9), 11, i),
                    indices(1 + static_cast<Index>(i * 5 % 12), 11, 50 + i), i);
  return batch;
}

template <class Model>
double cached_error(const Model& model) {
  const Batch batch = ragged();
  double worst = difference(cached_logits(model, batch.prompts, batch.responses),
                            response_logits(model, batch.prompts, batch.responses).to_host());
  for (Index n = 1; n <= 14; ++n) {  // all lengths alone too
    const Batch one = numbered(sequences({indices(15 - n, 11, 1)}), sequences({indices(n, 11, 2)}));
    worst = std::max(worst, difference(cached_logits(model, one.prompts, one.responses),
                                       response_logits(model, one.prompts, one.responses).to_host()));
  }
  return worst;
}

template <class Model>
void check_causality(const Model& model) {
  const Batch batch = tiny_batch(6);
  Sequences changed;
  for (int i = 0; i < batch.size(); ++i) {
    Ids response = list(batch.responses[i]);
    response.back() = (response.back() + 3) % 11;
    if (response.size() > 2) response[response.size() - 2] = (response[response.size() - 2] + 1) % 11;
    changed.push_back(response);
  }
  const auto before = response_logits(model, batch.prompts, batch.responses).to_host();
  const auto after = response_logits(model, batch.prompts, changed).to_host();
  bool some_differ = false;
  for (int i = 0; i < batch.size(); ++i)
    for (int t = 0; t < batch.responses.length(i); ++t)
      for (int v = 0; v < 11; ++v) {
        const auto at =
            static_cast<std::size_t>((batch.responses.offsets[static_cast<std::size_t>(i)] + t) * 11 + v);
        // The last two tokens changed: the last row alone reads one of them.
        if (t + 1 < batch.responses.length(i) || t < 2)
          CHECK(before[at] == after[at]);
        else
          some_differ = some_differ || before[at] != after[at];
      }
  CHECK(some_differ);
}

template <class Model>
void check_neighbours(const Model& model) {
  const Batch batch = ragged();
  const auto together = response_logits(model, batch.prompts, batch.responses).to_host();
  for (int i = 0; i < batch.size(); ++i) {
    const Batch one = batch.slice(i, i + 1);
    const auto alone = response_logits(model, one.prompts, one.responses).to_host();
    const auto first = batch.responses.offsets[static_cast<std::size_t>(i)] * 11;
    CHECK(difference(alone, std::vector(together.begin() + first,
                                        together.begin() + first + std::ssize(alone))) <= 1e-12);
  }
}

}  // namespace

TEST_CASE("decoding with the cache equals the forward pass, for ragged prompts and all lengths") {
  using F = Cpu<float>;
  CHECK(cached_error(tiny_decoder<F>(1)) <= 1e-5);
  for (const auto& [encoder, decoder] : {std::pair<Index, Index>{2, 2}, {1, 3}, {3, 1}}) {
    auto config = tiny_t5_config();
    config.encoder_layers = encoder;
    config.decoder_layers = decoder;
    CAPTURE(encoder, decoder);
    CHECK(cached_error(tiny_t5<F, T5>(1, config)) <= 1e-5);
    CHECK(cached_error(tiny_t5<F, T5v11>(1, config)) <= 1e-5);
  }
}

TEST_CASE("a later token never changes the logits of an earlier one") {
  check_causality(tiny_decoder<Cpu<double>>(2));
  check_causality(tiny_t5<Cpu<double>>(2));
}

TEST_CASE("the logits of a sequence do not depend on its neighbours in the batch") {
  check_neighbours(tiny_decoder<Cpu<double>>(3));
  check_neighbours(tiny_t5<Cpu<double>>(3));
}

TEST_CASE("a batch of nothing, and of responses without tokens, has no logits") {
  const auto rows = [](const auto& model, const Sequences& prompts, const Sequences& responses) {
    return response_logits(model, prompts, responses).shape()[0];
  };
  CHECK(rows(tiny_decoder<Cpu<float>>(1), {}, {}) == 0);
  CHECK(rows(tiny_t5<Cpu<float>>(1), {}, {}) == 0);
  CHECK(rows(tiny_decoder<Cpu<float>>(1), sequences({{1}, {2}}), sequences({{}, {}})) == 0);
  CHECK(rows(tiny_t5<Cpu<float>>(1), sequences({{1}, {2}}), sequences({{}, {3, 4}})) == 2);
}

TEST_CASE("a decoder's positions are its limit") {
  const auto model = tiny_decoder<Cpu<float>>(1);  // 24 positions
  const auto forward = [&](Index prompt, Index response) {
    return response_logits(model, sequences({indices(prompt, 11, 1)}), sequences({indices(response, 11, 2)}));
  };
  CHECK(forward(20, 5).shape() == Shape{5, 11});  // the last response token is predicted, not read
  CHECK(message_of<ValueError>([&] { (void)forward(20, 6); }) ==
        "[decoder] a sequence of 25 tokens, the model has 24 positions");

  const Sequences prompt = sequences({indices(20, 11, 1), {1}});
  CHECK(message_of<ValueError>([&] { (void)model.start(prompt, 6); }) ==
        "[decoder] a prompt of 20 tokens and up to 6 more, but the model has 24 positions: ask for fewer");
  auto state = model.start(prompt, 5);
  for (int t = 0; t < 4; ++t) model.advance(state, Ids{1, 2});
  CHECK_THROWS_AS(model.advance(state, Ids{1, 2}), ValueError);
}

TEST_CASE(
    "what a model cannot read is an error: foreign tokens, an empty prompt, prompts without responses") {
  const auto decoder = tiny_decoder<Cpu<float>>(1);
  const auto t5 = tiny_t5<Cpu<float>>(1);
  const auto read = [](const auto& model, const std::vector<Ids>& prompts,
                       const std::vector<Ids>& responses) {
    return message_of<Error>([&] { (void)response_logits(model, sequences(prompts), sequences(responses)); });
  };
  CHECK(read(decoder, {{1, 11}}, {{2}}) == "[decoder] token 11 is outside the vocabulary of 11");
  CHECK(read(decoder, {{1}}, {{-1, 2}}) == "[decoder] token -1 is outside the vocabulary of 11");
  CHECK(read(t5, {{12}}, {{2}}) == "[encoder] token 12 is outside the vocabulary of 11");
  CHECK(read(t5, {{1}}, {{99, 1}}) == "[decoder] token 99 is outside the vocabulary of 11");
  CHECK(read(decoder, {{1}, {}}, {{2}, {3}}) ==
        "[decoder] prompt 1 is empty, expected at least one token (such as end-of-text)");
  CHECK(read(decoder, {{1}}, {{2}, {3}}) == "[decoder] 1 prompts but 2 responses");
  CHECK(read(t5, {{1}}, {}) == "[encoder_decoder] 1 prompts but 0 responses");
  CHECK_THROWS_AS(decoder.start(sequences({{}}), 4), ValueError);
  CHECK_THROWS_AS(t5.start(sequences({{11}}), 4), ValueError);
}

TEST_CASE("sizes that make no model are refused") {
  auto decoder = tiny_decoder_config();
  decoder.heads = 5;
  CHECK(message_of<ValueError>([&] { (void)tiny_decoder<Cpu<float>>(1, decoder); }) ==
        "[decoder] width 12 does not divide into 5 heads");
  auto t5 = tiny_t5_config();
  t5.heads = 0;
  CHECK_THROWS_AS((tiny_t5<Cpu<float>>(1, t5)), ValueError);
  t5 = tiny_t5_config();
  t5.max_distance = 4;
  CHECK_THROWS_AS((tiny_t5<Cpu<float>>(1, t5)), ValueError);
  t5 = tiny_t5_config();
  t5.start_token = 11;
  CHECK_THROWS_AS(response_logits(tiny_t5<Cpu<float>>(1, t5), sequences({{1}}), sequences({{1}})),
                  ValueError);
}
