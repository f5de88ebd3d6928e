// transformers' models in float: the same numbers and tokens.
#include "model_parity.hpp"

using namespace retort;
using namespace retort::test;
using B = Cpu<float>;

namespace retort::test {

AnyModel<B> load_model(const std::filesystem::path& folder) {
  return HuggingFaceFolder(folder).load<B>();
}

std::vector<float> logits_of(const AnyModel<B>& model, const Sequences& prompts, const Sequences& responses) {
  return response_logits(model, prompts, responses).to_host();
}

Sequences greedy_tokens(const AnyModel<B>& model, const Sequences& prompts, Index count) {
  std::vector<std::uint64_t> ids(static_cast<std::size_t>(prompts.size()));
  return generate(model, prompts, ids, Greedy{}, {.max_tokens = count, .end_token = -1}).responses;
}

void train(AnyModel<B>& model, const ExpectedOfModel& expected, int steps) {
  auto optimizer = AdamW{.learning_rate = 5e-3}.on(parameters(model));
  for (int step = 0; step < steps; ++step) {
    (void)loss_of(model, expected, true);
    optimizer.step({});
  }
}

}  // namespace retort::test

TEST_CASE("logits of every family and variant are transformers' (float)") {
  check_logits<B>("logits32", 1e-4);
}

TEST_CASE("the gradient of every parameter is transformers' (float)") {
  check_gradients_of_models<B>(1e-4);
}

TEST_CASE("ten steps of AdamW have PyTorch's losses (float)") {
  check_training<B>(1e-4);
}

TEST_CASE("greedy decoding finds transformers' tokens (float)") {
  check_greedy<B>();
}

TEST_CASE("beam search finds transformers' hypotheses (float)") {
  check_beams<B>(1e-4);
}
