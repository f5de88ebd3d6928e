#pragma once

#include <utility>
#include <vector>

#include "retort/models/any_model.hpp"
#include "tiny_models.hpp"

namespace retort::test {

/// Families and switches: post-norm and projected embeddings, parallel blocks and partial rotation, shared
/// key heads of their own width, no biases. 11 tokens, 24 positions.
template <Backend B>
std::vector<std::pair<const char*, AnyModel<B>>> all_families() {
  const auto sizes = [](DecoderConfig c) {
    c.vocabulary = 11, c.positions = 24, c.width = 12, c.layers = 2, c.heads = 3, c.hidden = 20;
    c.init_deviation = 0.5;
    return c;
  };
  DecoderConfig opt = sizes(Opt::config()), post = opt, gptj = sizes(GptJ::config()),
                llama = sizes(Llama::config());
  post.post_norm = true, post.final_norm = false, post.embedding_width = 7;
  gptj.rotary.width = 2;
  llama.heads = 4, llama.kv_heads = 2, llama.head_width = 6;
  llama.rotary.scaling = nn::RotaryScaling::llama3;
  llama.rotary.factor = 4, llama.rotary.original_positions = 16;
  const RandomKey key{1, 2};
  std::vector<std::pair<const char*, AnyModel<B>>> all;
  all.emplace_back("gpt2", Decoder<B, Gpt2>(sizes(Gpt2::config()), key));
  all.emplace_back("opt", Decoder<B, Opt>(opt, key));
  all.emplace_back("opt, post-norm, projected", Decoder<B, Opt>(post, key));
  all.emplace_back("gptj", Decoder<B, GptJ>(gptj, key));
  all.emplace_back("llama", Decoder<B, Llama>(llama, key));
  all.emplace_back("t5", tiny_t5<B, T5>(1));
  all.emplace_back("t5 v1.1", tiny_t5<B, T5v11>(1));
  return all;
}

}  // namespace retort::test
