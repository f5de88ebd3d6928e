#pragma once

#include "retort/io/hugging_face/family.hpp"
#include "retort/models/decoder_families.hpp"

namespace retort::hugging_face {

/// OPT, with its variants of the norms' places and of projected embeddings.
template <>
struct Format<Opt> {
  static constexpr const char* model_type = "opt";
  static constexpr const char* architecture = "OPTForCausalLM";
  static constexpr double epsilon = 1e-5;  // not in config.json

  static bool matches(const ConfigFile&) { return true; }

  static DecoderConfig read(const ConfigFile& file) {
    (void)file.text({"activation_function"}, "relu", {"relu"});
    file.require("layer_norm_elementwise_affine", true);
    if (file.number({"layerdrop"}, 0.0) != 0)
      file.complain("layerdrop", file.json()["layerdrop"], "supported: 0");
    DecoderConfig c = Opt::config();
    c.vocabulary = file.size({"vocab_size"});
    c.positions = file.size({"max_position_embeddings"}, 2048);
    c.width = file.size({"hidden_size"});
    c.embedding_width = file.size({"word_embed_proj_dim"}, c.width);
    c.layers = file.size({"num_hidden_layers"}, {}, 0);
    c.heads = file.size({"num_attention_heads"});
    c.hidden = file.size({"ffn_dim"});
    c.dropout = file.number({"dropout"}, 0.1, ConfigFile::Range::share);
    c.embedding_dropout = 0;
    c.attention_dropout = file.number({"attention_dropout"}, 0.0, ConfigFile::Range::share);
    c.norm_epsilon = epsilon;
    c.init_deviation = file.number({"init_std"}, 0.02, ConfigFile::Range::not_negative);
    c.post_norm = !file.flag({"do_layer_norm_before"}, true);
    c.final_norm = !c.post_norm && !file.flag({"_remove_final_layer_norm"}, false);
    c.attention_bias = c.mlp_bias = file.flag({"enable_bias"}, true);
    c.tied_head = file.flag({"tie_word_embeddings"}, true);
    return c;
  }

  static Json write(const DecoderConfig& c) {
    refuse(c.kv_heads != c.heads, "opt", "kv_heads other than heads");
    refuse(c.head_width * c.heads != c.width, "opt", "head_width other than width / heads");
    refuse(c.norm_epsilon != epsilon, "opt", "a norm_epsilon other than 1e-5");
    refuse(c.post_norm && c.final_norm, "opt", "a final norm with post_norm");
    refuse(c.attention_bias != c.mlp_bias, "opt", "biases in one kind of layer only");
    refuse(c.head_bias, "opt", "a bias of the head");
    return {{"vocab_size", c.vocabulary},
            {"max_position_embeddings", c.positions},
            {"hidden_size", c.width},
            {"word_embed_proj_dim", c.embedding_width},
            {"num_hidden_layers", c.layers},
            {"num_attention_heads", c.heads},
            {"ffn_dim", c.hidden},
            {"activation_function", "relu"},
            {"dropout", c.dropout},
            {"attention_dropout", c.attention_dropout},
            {"init_std", c.init_deviation},
            {"do_layer_norm_before", !c.post_norm},
            {"_remove_final_layer_norm", !c.post_norm && !c.final_norm},
            {"enable_bias", c.attention_bias},
            {"tie_word_embeddings", c.tied_head}};
  }

  static FileLayout layout() {
    return {.rules = {{"embed_tokens", "token"},
                      {"project_in", "project.in"},
                      {"embed_positions", "position"},
                      {"layers.{}.self_attn_layer_norm", "block.{}.attention_norm"},
                      {"layers.{}.self_attn.q_proj", "block.{}.attention.qkv", Part::queries},
                      {"layers.{}.self_attn.k_proj", "block.{}.attention.qkv", Part::keys},
                      {"layers.{}.self_attn.v_proj", "block.{}.attention.qkv", Part::values},
                      {"layers.{}.self_attn.out_proj", "block.{}.attention.output"},
                      {"layers.{}.final_layer_norm", "block.{}.ff_norm"},
                      {"layers.{}.fc1", "block.{}.ff.up"},
                      {"layers.{}.fc2", "block.{}.ff.down"},
                      {"final_layer_norm", "norm"},
                      {"project_out", "project.out"},
                      {"lm_head", "head"}},
            .prefixes = {"model.decoder.", "decoder."},
            .bare = {"lm_head."},
            .embedding = "embed_tokens.weight"};
  }
};

}  // namespace retort::hugging_face
