#pragma once

#include "retort/io/hugging_face/family.hpp"
#include "retort/models/decoder_families.hpp"

namespace retort::hugging_face {

/// GPT-2. Its matrices are stored as (inputs, outputs), queries, keys and values in one.
template <>
struct Format<Gpt2> {
  static constexpr const char* model_type = "gpt2";
  static constexpr const char* architecture = "GPT2LMHeadModel";

  static bool matches(const ConfigFile&) { return true; }

  static DecoderConfig read(const ConfigFile& file) {
    (void)file.text({"activation_function"}, "gelu_new", {"gelu_new", "gelu_pytorch_tanh"});
    file.require("scale_attn_weights", true);
    file.require("scale_attn_by_inverse_layer_idx", false);
    file.require("add_cross_attention", false);
    DecoderConfig c = Gpt2::config();
    c.vocabulary = file.size({"vocab_size"});
    c.positions = file.size({"n_positions", "max_position_embeddings"}, 1024);
    c.width = file.size({"n_embd", "hidden_size"});
    c.layers = file.size({"n_layer", "num_hidden_layers"}, {}, 0);
    c.heads = file.size({"n_head", "num_attention_heads"});
    c.hidden = file.size({"n_inner"}, 4 * c.width);
    c.dropout = file.number({"resid_pdrop"}, 0.1, ConfigFile::Range::share);
    c.embedding_dropout = file.number({"embd_pdrop"}, 0.1, ConfigFile::Range::share);
    c.attention_dropout = file.number({"attn_pdrop"}, 0.1, ConfigFile::Range::share);
    c.norm_epsilon = file.number({"layer_norm_epsilon"}, 1e-5, ConfigFile::Range::not_negative);
    c.init_deviation = file.number({"initializer_range"}, 0.02, ConfigFile::Range::not_negative);
    c.tied_head = file.flag({"tie_word_embeddings"}, true);
    return c;
  }

  static Json write(const DecoderConfig& c) {
    refuse(c.kv_heads != c.heads, "gpt2", "kv_heads other than heads");
    refuse(c.head_width * c.heads != c.width, "gpt2", "head_width other than width / heads");
    refuse(c.embedding_width != c.width, "gpt2", "an embedding_width of its own");
    refuse(c.post_norm || !c.final_norm, "gpt2", "norms elsewhere");
    refuse(!c.attention_bias || !c.mlp_bias, "gpt2", "layers without biases");
    refuse(c.head_bias, "gpt2", "a bias of the head");
    return {{"vocab_size", c.vocabulary},
            {"n_positions", c.positions},
            {"n_embd", c.width},
            {"n_layer", c.layers},
            {"n_head", c.heads},
            {"n_inner", c.hidden},
            {"activation_function", "gelu_new"},
            {"resid_pdrop", c.dropout},
            {"embd_pdrop", c.embedding_dropout},
            {"attn_pdrop", c.attention_dropout},
            {"layer_norm_epsilon", c.norm_epsilon},
            {"initializer_range", c.init_deviation},
            {"tie_word_embeddings", c.tied_head}};
  }

  static FileLayout layout() {
    return {.rules = {{"wte", "token"},
                      {"wpe", "position"},
                      {"h.{}.ln_1", "block.{}.attention_norm"},
                      {"h.{}.attn.c_attn", "block.{}.attention.qkv", Part::all, true},
                      {"h.{}.attn.c_proj", "block.{}.attention.output", Part::all, true},
                      {"h.{}.ln_2", "block.{}.ff_norm"},
                      {"h.{}.mlp.c_fc", "block.{}.ff.up", Part::all, true},
                      {"h.{}.mlp.c_proj", "block.{}.ff.down", Part::all, true},
                      {"ln_f", "norm"},
                      {"lm_head", "head"}},
            .prefixes = {"transformer."},
            .bare = {"lm_head."},
            .ignored = {".attn.bias", ".attn.masked_bias"},
            .embedding = "wte.weight"};
  }
};

}  // namespace retort::hugging_face
