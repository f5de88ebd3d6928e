#pragma once

#include "retort/io/hugging_face/family.hpp"
#include "retort/models/decoder_families.hpp"

namespace retort::hugging_face {

/// GPT-J.
template <>
struct Format<GptJ> {
  static constexpr const char* model_type = "gptj";
  static constexpr const char* architecture = "GPTJForCausalLM";

  static bool matches(const ConfigFile&) { return true; }

  static DecoderConfig read(const ConfigFile& file) {
    (void)file.text({"activation_function"}, "gelu_new", {"gelu_new", "gelu_pytorch_tanh"});
    DecoderConfig c = GptJ::config();
    c.vocabulary = file.size({"vocab_size"});
    c.positions = file.size({"n_positions", "max_position_embeddings"}, 2048);
    c.width = file.size({"n_embd", "hidden_size"});
    c.layers = file.size({"n_layer", "num_hidden_layers"}, {}, 0);
    c.heads = file.size({"n_head", "num_attention_heads"});
    c.hidden = file.size({"n_inner"}, 4 * c.width);
    c.dropout = file.number({"resid_pdrop"}, 0.0, ConfigFile::Range::share);
    c.embedding_dropout = file.number({"embd_pdrop"}, 0.0, ConfigFile::Range::share);
    c.attention_dropout = file.number({"attn_pdrop"}, 0.0, ConfigFile::Range::share);
    c.norm_epsilon = file.number({"layer_norm_epsilon"}, 1e-5, ConfigFile::Range::not_negative);
    c.init_deviation = file.number({"initializer_range"}, 0.02, ConfigFile::Range::not_negative);
    c.tied_head = file.flag({"tie_word_embeddings"}, false);
    c.rotary.width = file.size({"rotary_dim"},
                               file.json().contains("rotary_dim") ? std::nullopt : std::optional<Index>(64));
    return c;
  }

  static Json write(const DecoderConfig& c) {
    refuse(c.kv_heads != c.heads, "gptj", "kv_heads other than heads");
    refuse(c.head_width * c.heads != c.width, "gptj", "head_width other than width / heads");
    refuse(c.embedding_width != c.width, "gptj", "an embedding_width of its own");
    refuse(c.post_norm || !c.final_norm, "gptj", "norms elsewhere");
    refuse(c.attention_bias || !c.mlp_bias || !c.head_bias, "gptj",
           "biases elsewhere than in feed-forward and head");
    refuse(c.rotary.theta != 10000 || c.rotary.scaling != nn::RotaryScaling::none, "gptj",
           "a theta other than 10000 or scaled frequencies");
    return {{"vocab_size", c.vocabulary},
            {"n_positions", c.positions},
            {"n_embd", c.width},
            {"n_layer", c.layers},
            {"n_head", c.heads},
            {"n_inner", c.hidden},
            {"rotary_dim", c.rotary.width_of(c.head_width)},
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
                      {"h.{}.ln_1", "block.{}.attention_norm"},
                      {"h.{}.attn.q_proj", "block.{}.attention.qkv", Part::queries},
                      {"h.{}.attn.k_proj", "block.{}.attention.qkv", Part::keys},
                      {"h.{}.attn.v_proj", "block.{}.attention.qkv", Part::values},
                      {"h.{}.attn.out_proj", "block.{}.attention.output"},
                      {"h.{}.mlp.fc_in", "block.{}.ff.up"},
                      {"h.{}.mlp.fc_out", "block.{}.ff.down"},
                      {"ln_f", "norm"},
                      {"lm_head", "head"}},
            .prefixes = {"transformer."},
            .bare = {"lm_head."},
            .ignored = {".attn.bias", ".attn.masked_bias"},
            .embedding = "wte.weight"};
  }
};

}  // namespace retort::hugging_face
