#pragma once

#include "retort/io/hugging_face/family.hpp"
#include "retort/models/encoder_decoder_families.hpp"

namespace retort::hugging_face {

/// What T5 v1.0 and T5 v1.1 have in common: `feed_forward_proj` tells them apart.
template <class Family>
struct FormatT5 {
  static constexpr const char* model_type = "t5";
  static constexpr const char* architecture = "T5ForConditionalGeneration";
  static constexpr bool gated = std::same_as<Family, T5v11>;

  static bool matches(const ConfigFile& file) {
    const auto name = file.json().value("feed_forward_proj", Json("relu"));
    return (name.is_string() && name.get<std::string>().starts_with("gated")) == gated;
  }

  static EncoderDecoderConfig read(const ConfigFile& file) {
    if (gated)
      (void)file.text({"feed_forward_proj"}, nullptr, {"gated-gelu"});
    else
      (void)file.text({"feed_forward_proj"}, "relu", {"relu", "gated-gelu"});
    file.require("is_gated_act", gated);
    file.require("dense_act_fn", gated ? "gelu_new" : "relu");
    EncoderDecoderConfig c;
    c.vocabulary = file.size({"vocab_size"});
    c.width = file.size({"d_model", "hidden_size"});
    c.head_width = file.size({"d_kv", "head_dim"});
    c.hidden = file.size({"d_ff"});
    c.encoder_layers = file.size({"num_layers", "num_hidden_layers"}, {}, 0);
    c.decoder_layers = file.size({"num_decoder_layers"}, c.encoder_layers, 0);
    c.heads = file.size({"num_heads", "num_attention_heads"});
    c.buckets = file.size({"relative_attention_num_buckets"}, 32);
    c.max_distance = file.size({"relative_attention_max_distance"}, 128);
    c.dropout = file.number({"dropout_rate"}, 0.1, ConfigFile::Range::share);
    c.norm_epsilon = file.number({"layer_norm_epsilon"}, 1e-6, ConfigFile::Range::not_negative);
    c.start_token = static_cast<std::int32_t>(file.size({"decoder_start_token_id", "pad_token_id"}, 0, 0));
    c.tied_head = file.flag({"tie_word_embeddings"}, true);
    c.scaled_head = file.flag({"scale_decoder_outputs"}, *c.tied_head);
    return c;
  }

  static Json write(const EncoderDecoderConfig& c) {
    Json json{{"vocab_size", c.vocabulary},
              {"d_model", c.width},
              {"d_kv", c.head_width},
              {"d_ff", c.hidden},
              {"num_layers", c.encoder_layers},
              {"num_decoder_layers", c.decoder_layers},
              {"num_heads", c.heads},
              {"relative_attention_num_buckets", c.buckets},
              {"relative_attention_max_distance", c.max_distance},
              {"dropout_rate", c.dropout},
              {"layer_norm_epsilon", c.norm_epsilon},
              {"feed_forward_proj", gated ? "gated-gelu" : "relu"},
              {"decoder_start_token_id", c.start_token},
              {"is_encoder_decoder", true},
              {"tie_word_embeddings", *c.tied_head}};
    if (*c.scaled_head != *c.tied_head) json["scale_decoder_outputs"] = *c.scaled_head;
    return json;
  }

  static FileLayout layout() {
    return {
        .rules =
            {{"shared", "shared"},
             {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "encoder.position"},
             {"encoder.block.{}.layer.0.layer_norm", "encoder.block.{}.attention_norm"},
             {"encoder.block.{}.layer.0.SelfAttention.q", "encoder.block.{}.attention.qkv", Part::queries},
             {"encoder.block.{}.layer.0.SelfAttention.k", "encoder.block.{}.attention.qkv", Part::keys},
             {"encoder.block.{}.layer.0.SelfAttention.v", "encoder.block.{}.attention.qkv", Part::values},
             {"encoder.block.{}.layer.0.SelfAttention.o", "encoder.block.{}.attention.output"},
             {"encoder.block.{}.layer.1.layer_norm", "encoder.block.{}.ff_norm"},
             {"encoder.block.{}.layer.1.DenseReluDense.wi_0", "encoder.block.{}.ff.gate"},
             {gated ? "encoder.block.{}.layer.1.DenseReluDense.wi_1"
                    : "encoder.block.{}.layer.1.DenseReluDense.wi",
              "encoder.block.{}.ff.up"},
             {"encoder.block.{}.layer.1.DenseReluDense.wo", "encoder.block.{}.ff.down"},
             {"encoder.final_layer_norm", "encoder.norm"},
             {"decoder.block.0.layer.0.SelfAttention.relative_attention_bias", "decoder.position"},
             {"decoder.block.{}.layer.0.layer_norm", "decoder.block.{}.attention_norm"},
             {"decoder.block.{}.layer.0.SelfAttention.q", "decoder.block.{}.attention.qkv", Part::queries},
             {"decoder.block.{}.layer.0.SelfAttention.k", "decoder.block.{}.attention.qkv", Part::keys},
             {"decoder.block.{}.layer.0.SelfAttention.v", "decoder.block.{}.attention.qkv", Part::values},
             {"decoder.block.{}.layer.0.SelfAttention.o", "decoder.block.{}.attention.output"},
             {"decoder.block.{}.layer.1.layer_norm", "decoder.block.{}.cross_norm"},
             {"decoder.block.{}.layer.1.EncDecAttention.q", "decoder.block.{}.cross.q"},
             {"decoder.block.{}.layer.1.EncDecAttention.k", "decoder.block.{}.cross.kv", Part::first_half},
             {"decoder.block.{}.layer.1.EncDecAttention.v", "decoder.block.{}.cross.kv", Part::second_half},
             {"decoder.block.{}.layer.1.EncDecAttention.o", "decoder.block.{}.cross.output"},
             {"decoder.block.{}.layer.2.layer_norm", "decoder.block.{}.ff_norm"},
             {"decoder.block.{}.layer.2.DenseReluDense.wi_0", "decoder.block.{}.ff.gate"},
             {gated ? "decoder.block.{}.layer.2.DenseReluDense.wi_1"
                    : "decoder.block.{}.layer.2.DenseReluDense.wi",
              "decoder.block.{}.ff.up"},
             {"decoder.block.{}.layer.2.DenseReluDense.wo", "decoder.block.{}.ff.down"},
             {"decoder.final_layer_norm", "decoder.norm"},
             {"lm_head", "head"}},
        .ignored = {".EncDecAttention.relative_attention_bias.weight"},
        .embedding = "shared.weight",
        .copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}};
  }
};

template <>
struct Format<T5> : FormatT5<T5> {};
template <>
struct Format<T5v11> : FormatT5<T5v11> {};

}  // namespace retort::hugging_face
