#pragma once

#include "retort/io/hugging_face/family.hpp"
#include "retort/models/decoder_families.hpp"

namespace retort::hugging_face {

/// LLaMA, in the older spelling of its rotary embedding (`rope_theta`, `rope_scaling`) and in that of
/// transformers 5 (`rope_parameters`).
template <>
struct Format<Llama> {
  static constexpr const char* model_type = "llama";
  static constexpr const char* architecture = "LlamaForCausalLM";

  static bool matches(const ConfigFile&) { return true; }

  static DecoderConfig read(const ConfigFile& file) {
    (void)file.text({"hidden_act"}, "silu", {"silu"});
    DecoderConfig c = Llama::config();
    c.vocabulary = file.size({"vocab_size"});
    c.positions = file.size({"max_position_embeddings"}, 2048);
    c.width = file.size({"hidden_size"});
    c.layers = file.size({"num_hidden_layers"}, {}, 0);
    c.heads = file.size({"num_attention_heads"});
    c.kv_heads = file.size({"num_key_value_heads"}, c.heads);
    c.head_width = file.size({"head_dim"}, 0);
    c.hidden = file.size({"intermediate_size"});
    c.dropout = c.embedding_dropout = 0;
    c.attention_dropout = file.number({"attention_dropout"}, 0.0, ConfigFile::Range::share);
    c.norm_epsilon = file.number({"rms_norm_eps"}, 1e-6, ConfigFile::Range::not_negative);
    c.init_deviation = file.number({"initializer_range"}, 0.02, ConfigFile::Range::not_negative);
    c.attention_bias = file.flag({"attention_bias"}, false);
    c.mlp_bias = file.flag({"mlp_bias"}, false);
    c.tied_head = file.flag({"tie_word_embeddings"}, false);
    c.rotary = read_rotary(file, c.positions);
    return c;
  }

  static Json write(const DecoderConfig& c) {
    refuse(c.embedding_width != c.width, "llama", "an embedding_width of its own");
    refuse(c.post_norm || !c.final_norm, "llama", "norms elsewhere");
    refuse(c.head_bias, "llama", "a bias of the head");
    refuse(c.rotary.width_of(c.head_width) != c.head_width, "llama", "a rotation of a part of a head");
    Json rope{{"rope_type", nn::name_of(c.rotary.scaling)}};
    if (c.rotary.scaling != nn::RotaryScaling::none) rope["factor"] = c.rotary.factor;
    if (c.rotary.scaling == nn::RotaryScaling::llama3) {
      rope["low_freq_factor"] = c.rotary.low_frequency;
      rope["high_freq_factor"] = c.rotary.high_frequency;
      rope["original_max_position_embeddings"] = c.rotary.original_positions;
    }
    return {{"vocab_size", c.vocabulary},
            {"max_position_embeddings", c.positions},
            {"hidden_size", c.width},
            {"num_hidden_layers", c.layers},
            {"num_attention_heads", c.heads},
            {"num_key_value_heads", c.kv_heads},
            {"head_dim", c.head_width},
            {"intermediate_size", c.hidden},
            {"hidden_act", "silu"},
            {"attention_dropout", c.attention_dropout},
            {"rms_norm_eps", c.norm_epsilon},
            {"initializer_range", c.init_deviation},
            {"attention_bias", c.attention_bias},
            {"mlp_bias", c.mlp_bias},
            {"tie_word_embeddings", c.tied_head},
            // The older spelling, which transformers 5 reads as well.
            {"rope_theta", c.rotary.theta},
            {"rope_scaling", c.rotary.scaling == nn::RotaryScaling::none ? Json() : rope}};
  }

  static FileLayout layout() {
    return {.rules = {{"embed_tokens", "token"},
                      {"layers.{}.input_layernorm", "block.{}.attention_norm"},
                      {"layers.{}.self_attn.q_proj", "block.{}.attention.qkv", Part::queries},
                      {"layers.{}.self_attn.k_proj", "block.{}.attention.qkv", Part::keys},
                      {"layers.{}.self_attn.v_proj", "block.{}.attention.qkv", Part::values},
                      {"layers.{}.self_attn.o_proj", "block.{}.attention.output"},
                      {"layers.{}.post_attention_layernorm", "block.{}.ff_norm"},
                      {"layers.{}.mlp.gate_proj", "block.{}.ff.gate"},
                      {"layers.{}.mlp.up_proj", "block.{}.ff.up"},
                      {"layers.{}.mlp.down_proj", "block.{}.ff.down"},
                      {"norm", "norm"},
                      {"lm_head", "head"}},
            .prefixes = {"model."},
            .bare = {"lm_head."},
            .ignored = {"rotary_emb.inv_freq"},
            .embedding = "embed_tokens.weight"};
  }

 private:
  static nn::RotaryConfig read_rotary(const ConfigFile& file, Index positions) {
    nn::RotaryConfig rotary{.theta = file.number({"rope_theta"}, 10000.0, ConfigFile::Range::positive)};
    file.require("partial_rotary_factor", 1.0);
    auto rope = file.object("rope_scaling");  // counts where both are given
    if (!rope || rope->json().empty()) rope = file.object("rope_parameters");
    if (!rope) return rotary;
    rotary.theta = rope->number({"rope_theta"}, rotary.theta, ConfigFile::Range::positive);
    rope->require("partial_rotary_factor", 1.0);
    const auto type = rope->text({"rope_type", "type"}, "default", {"default", "linear", "llama3"});
    if (type == "default") return rotary;
    rotary.factor = rope->number({"factor"}, {}, ConfigFile::Range::positive);
    rotary.scaling = type == "linear" ? nn::RotaryScaling::linear : nn::RotaryScaling::llama3;
    if (type == "linear") return rotary;
    rotary.low_frequency = rope->number({"low_freq_factor"}, {}, ConfigFile::Range::positive);
    rotary.high_frequency = rope->number({"high_freq_factor"}, {}, ConfigFile::Range::positive);
    rotary.original_positions = rope->size({"original_max_position_embeddings"},
                                           file.size({"original_max_position_embeddings"}, positions));
    return rotary;
  }
};

}  // namespace retort::hugging_face
