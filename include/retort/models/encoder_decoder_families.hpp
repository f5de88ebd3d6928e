#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

#include "retort/nn/feed_forward.hpp"
#include "retort/nn/norm.hpp"

/// Families of encoder-decoders as lists of policies, and the values that they share.
namespace retort {

/// Sizes of an encoder-decoder. The defaults are T5-small's.
struct EncoderDecoderConfig {
  Index vocabulary = 32128;  ///< of prompts and responses
  Index width = 512;         ///< of the residual stream
  Index encoder_layers = 6;
  Index decoder_layers = 6;  ///< may differ from the encoder's
  Index heads = 8;
  Index head_width = 64;     ///< heads * head_width need not be width
  Index hidden = 2048;       ///< of the feed-forward
  Index buckets = 32;        ///< of relative positions
  Index max_distance = 128;  ///< from here on distances share a bucket
  double dropout = 0;        ///< of embeddings, attention weights, layer outputs and hidden layers
  double norm_epsilon = 1e-6;
  std::int32_t start_token = 0;       ///< the decoder's first input
  std::optional<bool> tied_head{};    ///< the head is the embedding table; if not given, as the family has it
  std::optional<bool> scaled_head{};  ///< logits are multiplied by width^-1/2; if not given, if it is tied

  /// Calls f(name, value) for every size: what a run's configuration records.
  template <class F>
  void each_field(F&& f) const {
    f("vocabulary", vocabulary), f("width", width), f("encoder_layers", encoder_layers);
    f("decoder_layers", decoder_layers), f("heads", heads), f("head_width", head_width), f("hidden", hidden);
    f("buckets", buckets), f("max_distance", max_distance), f("dropout", dropout),
        f("norm_epsilon", norm_epsilon);
    const auto text = [](const std::optional<bool>& given) {
      return !given ? "default" : *given ? "yes" : "no";
    };
    f("start_token", start_token), f("tied_head", text(tied_head)), f("scaled_head", text(scaled_head));
  }
};

/// A list of policies that `EncoderDecoder` can be made of.
template <class F>
concept EncoderDecoderFamily = requires {
  { F::name } -> std::convertible_to<const char*>;
  { F::tied_head } -> std::convertible_to<bool>;
  typename F::template Norm<Cpu<float>>;
  typename F::template FeedForward<Cpu<float>>;
};

/// T5 v1.0 (Raffel et al. 2020) as a list of policies: ReLU feed-forward, the head is the embedding table
/// scaled by width^-1/2. Another family of this shape is another such struct.
struct T5 {
  static constexpr const char* name = "t5";
  static constexpr bool tied_head = true;  ///< unless the configuration says otherwise
  template <Backend B>
  using Norm = nn::RmsNorm<B>;
  template <Backend B>
  using FeedForward = nn::Mlp<B, Relu>;
};

/// T5 v1.1 and FLAN-T5: gated GELU feed-forward, a head of its own.
struct T5v11 {
  static constexpr const char* name = "t5_v1_1";
  static constexpr bool tied_head = false;
  template <Backend B>
  using Norm = nn::RmsNorm<B>;
  template <Backend B>
  using FeedForward = nn::GatedMlp<B, GeluTanh>;
};

}  // namespace retort
