// transformers' models in float: the same numbers and tokens.
#include "model_parity.hpp"

using namespace retort;
using namespace retort::test;
using B = Cpu<float>;

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
