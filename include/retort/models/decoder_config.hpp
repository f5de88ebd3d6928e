#pragma once

#include "retort/nn/rotary.hpp"

namespace retort {

/// Sizes and switches of a decoder. The defaults are GPT-2 small's; a family's own are what its `config()`
/// returns, e.g. `Llama::config()`.
struct DecoderConfig {
  Index vocabulary = 50257;
  Index positions = 1024;     ///< longest sequence, prompt and response together
  Index width = 768;          ///< of the residual stream
  Index embedding_width = 0;  ///< of token embeddings and head, which are then projected; 0: width
  Index layers = 12;
  Index heads = 12;
  Index kv_heads = 0;    ///< of keys and values, a divisor of heads (grouped-query attention); 0: heads
  Index head_width = 0;  ///< of one head, any number; 0: width / heads
  Index hidden = 3072;   ///< of the feed-forward
  double dropout = 0;    ///< of layer outputs
  double embedding_dropout = -1;  ///< of embeddings; below 0: dropout
  double attention_dropout = -1;  ///< of attention weights; below 0: dropout
  double norm_epsilon = 1e-5;
  double init_deviation = 0.02;  ///< of fresh weights
  bool post_norm = false;        ///< norms behind each layer's sum, not before the layer (OPT-350m)
  bool final_norm = true;        ///< a norm behind the last layer
  bool attention_bias = true;    ///< biases of the projections
  bool mlp_bias = true;          ///< biases of the feed-forward
  bool tied_head = true;         ///< the head is the embedding table
  bool head_bias = false;        ///< a bias of the head
  nn::RotaryConfig rotary{};     ///< of families that turn queries and keys

  /// Calls f(name, value) for every value: what a run's configuration records.
  template <class F>
  void each_field(F&& f) const {
    f("vocabulary", vocabulary), f("positions", positions), f("width", width);
    f("embedding_width", embedding_width), f("layers", layers), f("heads", heads), f("kv_heads", kv_heads);
    f("head_width", head_width), f("hidden", hidden), f("dropout", dropout);
    f("embedding_dropout", embedding_dropout), f("attention_dropout", attention_dropout);
    f("norm_epsilon", norm_epsilon), f("init_deviation", init_deviation), f("post_norm", post_norm);
    f("final_norm", final_norm), f("attention_bias", attention_bias), f("mlp_bias", mlp_bias);
    f("tied_head", tied_head), f("head_bias", head_bias), f("rotary", rotary);
  }

  /// A copy with every number in the place of the 0 or -1 that stands for another. Throws ValueError for
  /// sizes that make no model.
  [[nodiscard]] DecoderConfig resolved() const {
    DecoderConfig c = *this;
    for (const auto& [name, value] : {std::pair{"vocabulary", vocabulary},
                                      {"positions", positions},
                                      {"width", width},
                                      {"heads", heads},
                                      {"hidden", hidden}})
      if (value < 1) fail<ValueError>("decoder", "{} is {}, expected at least 1", name, value);
    for (const auto& [name, value] : {std::pair{"layers", layers},
                                      {"kv_heads", kv_heads},
                                      {"head_width", head_width},
                                      {"embedding_width", embedding_width}})
      if (value < 0) fail<ValueError>("decoder", "{} is {}, expected at least 0", name, value);
    if (head_width == 0 && width % heads != 0)
      fail<ValueError>("decoder", "width {} does not divide into {} heads", width, heads);
    if (c.kv_heads == 0) c.kv_heads = heads;
    if (heads % c.kv_heads != 0)
      fail<ValueError>("decoder", "{} heads cannot share {} key/value heads", heads, kv_heads);
    if (c.head_width == 0) c.head_width = width / heads;
    if (c.embedding_width == 0) c.embedding_width = width;
    if (c.embedding_dropout < 0) c.embedding_dropout = dropout;
    if (c.attention_dropout < 0) c.attention_dropout = dropout;
    return c;
  }
};

}  // namespace retort
