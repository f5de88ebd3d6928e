// The models' logits against the naive implementations of naive.hpp, in double.
#include "catch.hpp"
#include "naive.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// All rows one after the other.
std::vector<double> flat(const naive::Matrix& rows) {
  std::vector<double> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

/// Random biases and gains, which fresh models have at 0 and 1.
template <class Model>
void roughen(Model& model) {
  std::uint64_t stream = 100;
  for (auto* p : parameters(model))
    if (p->shape().rank() == 1) {
      const auto noise = normals<double>(p->value.size(), ++stream, 0.3);
      for (std::size_t i = 0; i < noise.size(); ++i) p->value.data()[i] += noise[i];
    }
}

template <class Model, class Naive>
double error_of(const Model& model, const Batch& batch, Naive naive_logits) {
  const auto given = response_logits(model, batch.prompts, batch.responses).to_host();
  std::vector<double> right;
  for (int i = 0; i < batch.size(); ++i) {
    const auto rows = flat(naive_logits(list(batch.prompts[i]), list(batch.responses[i])));
    right.insert(right.end(), rows.begin(), rows.end());
  }
  return difference(given, right);
}

double gpt2_error(const DecoderConfig& config, const Batch& batch) {
  auto model = tiny_decoder<D>(3, config);
  roughen(model);
  const naive::Weights weights(model);
  return error_of(model, batch, [&](const Ids& prompt, const Ids& response) {
    Ids all = prompt;
    all.insert(all.end(), response.begin(), response.end() - 1);
    auto logits = naive::gpt2(weights, config, all);
    logits.erase(logits.begin(), logits.begin() + static_cast<std::ptrdiff_t>(prompt.size()) - 1);
    return logits;
  });
}

template <class Family>
double t5_error(const EncoderDecoderConfig& config, const Batch& batch) {
  auto model = tiny_t5<D, Family>(3, config);
  roughen(model);
  const naive::Weights weights(model);
  const naive::NaiveT5 t5(weights, config, !Family::tied_head);
  return error_of(model, batch,
                  [&](const Ids& prompt, const Ids& response) { return t5.logits(prompt, response); });
}

/// Ragged, the longest beyond T5's max_distance.
Batch ragged() {
  Batch batch = tiny_batch(5);
  batch.push_back(indices(12, 11, 7), indices(9, 11, 8), 5);
  batch.push_back(indices(3, 11, 9), indices(12, 11, 10), 6);
  return batch;
}

}  // namespace

TEST_CASE("the decoder computes GPT-2") {
  CHECK(gpt2_error(tiny_decoder_config(), ragged()) <= 1e-10);
  auto one_head = tiny_decoder_config();
  one_head.heads = 1;
  one_head.layers = 1;
  CHECK(gpt2_error(one_head, ragged()) <= 1e-10);
}

TEST_CASE("sequences longer than an attention tile are computed alike") {
  Batch batch = tiny_batch(2);
  batch.push_back(indices(71, 11, 1), indices(70, 11, 2), 9);
  auto config = tiny_decoder_config();
  config.positions = 150;
  CHECK(gpt2_error(config, batch) <= 1e-10);
  CHECK(t5_error<T5>(tiny_t5_config(), batch) <= 1e-10);
}

TEST_CASE("the encoder-decoder computes T5 and T5 v1.1, deeper on either side") {
  for (const auto& [encoder, decoder] : {std::pair<Index, Index>{2, 2}, {1, 3}, {3, 1}}) {
    auto config = tiny_t5_config();
    config.encoder_layers = encoder;
    config.decoder_layers = decoder;
    CAPTURE(encoder, decoder);
    CHECK(t5_error<T5>(config, ragged()) <= 1e-10);
    CHECK(t5_error<T5v11>(config, ragged()) <= 1e-10);
  }
}

TEST_CASE("a prompt without tokens is attended to as nothing by the encoder-decoder") {
  const Batch batch = numbered(sequences({{}, {3, 4}, {}}), sequences({{5, 6, 1}, {7}, {2}}));
  CHECK(t5_error<T5>(tiny_t5_config(), batch) <= 1e-10);
}
