#pragma once

#include <concepts>

#include "retort/models/decoder_config.hpp"
#include "retort/nn/feed_forward.hpp"
#include "retort/nn/norm.hpp"
#include "retort/nn/position.hpp"

/// Families of decoders as lists of policies: what differs in kind is a type here, what differs in size or is
/// on or off is a value of DecoderConfig. Another family is another such struct:
///
///   Norm, FeedForward, Positions, Rotary   layers, see nn/
///   parallel    attention and feed-forward read one norm and are added together, else one after the other
///   config()    the values of its smallest published model
namespace retort {

/// A list of policies that `Decoder` can be made of.
template <class F>
concept DecoderFamily = requires {
  { F::name } -> std::convertible_to<const char*>;
  { F::parallel } -> std::convertible_to<bool>;

  typename F::template Norm<Cpu<float>>;
  typename F::template FeedForward<Cpu<float>>;
  typename F::template Positions<Cpu<float>>;
  typename F::template Rotary<Cpu<float>>;
};

/// GPT-2 (Radford et al. 2019).
struct Gpt2 {
  static constexpr const char* name = "gpt2";
  static constexpr bool parallel = false;
  template <Backend B>
  using Norm = nn::LayerNorm<B>;
  template <Backend B>
  using FeedForward = nn::Mlp<B, GeluTanh>;
  template <Backend B>
  using Positions = nn::LearnedPositions<B>;
  template <Backend B>
  using Rotary = nn::NoRotary<B>;
  [[nodiscard]] static DecoderConfig config() { return {}; }
};

/// OPT (Zhang et al. 2022). The 350m model has `post_norm`, no `final_norm`, and an `embedding_width`.
struct Opt {
  static constexpr const char* name = "opt";
  static constexpr bool parallel = false;
  template <Backend B>
  using Norm = nn::LayerNorm<B>;
  template <Backend B>
  using FeedForward = nn::Mlp<B, Relu>;
  template <Backend B>
  using Positions = nn::LearnedPositions<B, 2>;
  template <Backend B>
  using Rotary = nn::NoRotary<B>;
  [[nodiscard]] static DecoderConfig config() { return {.vocabulary = 50272, .positions = 2048}; }
};

/// GPT-J (Wang & Komatsuzaki 2021).
struct GptJ {
  static constexpr const char* name = "gptj";
  static constexpr bool parallel = true;
  template <Backend B>
  using Norm = nn::LayerNorm<B>;
  template <Backend B>
  using FeedForward = nn::Mlp<B, GeluTanh>;
  template <Backend B>
  using Positions = nn::NoPositions<B>;
  template <Backend B>
  using Rotary = nn::Rotary<B, RotaryLayout::interleaved>;
  [[nodiscard]] static DecoderConfig config() {
    return {.vocabulary = 50400,
            .positions = 2048,
            .width = 4096,
            .layers = 28,
            .heads = 16,
            .hidden = 16384,
            .attention_bias = false,
            .tied_head = false,
            .head_bias = true,
            .rotary = {.width = 64}};
  }
};

/// LLaMA (Touvron et al. 2023) and its successors, which differ in values alone.
struct Llama {
  static constexpr const char* name = "llama";
  static constexpr bool parallel = false;
  template <Backend B>
  using Norm = nn::RmsNorm<B>;
  template <Backend B>
  using FeedForward = nn::GatedMlp<B, Silu>;
  template <Backend B>
  using Positions = nn::NoPositions<B>;
  template <Backend B>
  using Rotary = nn::Rotary<B, RotaryLayout::halves>;
  [[nodiscard]] static DecoderConfig config() {
    return {.vocabulary = 32000,
            .positions = 2048,
            .width = 4096,
            .layers = 32,
            .heads = 32,
            .hidden = 11008,
            .norm_epsilon = 1e-6,
            .attention_bias = false,
            .mlp_bias = false,
            .tied_head = false};
  }
};

}  // namespace retort
