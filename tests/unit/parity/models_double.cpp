// transformers' models in double: the same numbers and tokens.
#include "model_parity.hpp"

using namespace retort;
using namespace retort::test;
using B = Cpu<double>;

TEST_CASE("logits of every family and variant are transformers' (double)") {
  check_logits<B>("logits64", 1e-9);
}

TEST_CASE("the gradient of every parameter is transformers' (double)") {
  check_gradients_of_models<B>(1e-8);
}

TEST_CASE("ten steps of AdamW have PyTorch's losses (double)") {
  check_training<B>(1e-8);
}

TEST_CASE("greedy decoding finds transformers' tokens (double)") {
  check_greedy<B>();
}

TEST_CASE("beam search finds transformers' hypotheses (double)") {
  check_beams<B>(1e-8);
}
