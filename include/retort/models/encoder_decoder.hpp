#pragma once

#include <optional>
#include <string>
#include <vector>

#include "retort/models/encoder_decoder_families.hpp"
#include "retort/models/language_model.hpp"
#include "retort/nn/attention.hpp"
#include "retort/nn/position.hpp"

namespace retort {

/// An encoder-decoder transformer. The prompt is the encoder's input, the response the decoder's output; the
/// decoder's input is the start token and the response shifted by one. Parameters are named `shared.weight`,
/// `encoder.position`, `encoder.block.<i>.{attention_norm,attention,ff_norm,ff}`, `encoder.norm`, the same
/// for `decoder` with
/// `{cross_norm,cross}`, and `head.weight` if it is not tied.
template <Backend Be, class Fam = T5v11>
class EncoderDecoder {
  static_assert(
      EncoderDecoderFamily<Fam>,
      "EncoderDecoder: a family needs name, tied_head and the templates Norm and FeedForward over a backend, "
      "see retort/models/encoder_decoder_families.hpp");

 public:
  using Backend = Be;
  using B = Be;
  using Family = Fam;
  static constexpr bool advance_is_asynchronous = true;  ///< see AsynchronousModel
  using Config = EncoderDecoderConfig;

  /// Fresh weights as T5 draws them: each projection N(0, 1 / inputs), queries also divided by
  /// head_width^1/2, embedding and relative positions as in the reference implementation.
  explicit EncoderDecoder(const Config& config, RandomKey key = {}) : EncoderDecoder(config, std::nullopt) {
    initialise(key);
  }

  /// Matrices whose memory holds nothing yet, for weights that are loaded next.
  EncoderDecoder(const Config& config, std::nullopt_t)
      : config_(config),
        shared_("shared.weight", {config.vocabulary, config.width}),
        encoder_position_("encoder.position", config.buckets, config.heads, true, config.max_distance),
        decoder_position_("decoder.position", config.buckets, config.heads, false, config.max_distance),
        encoder_norm_("encoder.norm", config.width, config.norm_epsilon),
        decoder_norm_("decoder.norm", config.width, config.norm_epsilon) {
    if (config.heads < 1 || config.head_width < 1 || config.buckets < 4 ||
        config.max_distance <= config.buckets / 2)
      fail<ValueError>("encoder_decoder",
                       "{} heads of {}, {} buckets up to distance {}: expected at least 1, 1, 4 and a "
                       "distance above half the buckets",
                       config.heads, config.head_width, config.buckets, config.max_distance);
    for (Index i = 0; i < config.encoder_layers; ++i)
      encoder_.push_back(block("encoder.block." + std::to_string(i), false));
    for (Index i = 0; i < config.decoder_layers; ++i) {
      const std::string name = "decoder.block." + std::to_string(i);
      decoder_.push_back({block(name, true),
                          NormLayer(name + ".cross_norm", config.width, config.norm_epsilon),
                          nn::CrossAttention<B>(name + ".cross", attention_config(false))});
    }
    if (!config_.tied_head) config_.tied_head = Family::tied_head;
    if (!config_.scaled_head) config_.scaled_head = *config_.tied_head;
    if (!*config_.tied_head) head_.emplace("head.weight", shared_.shape());
  }

  /// The sizes it was made with, and what was not given filled in.
  [[nodiscard]] const Config& config() const { return config_; }
  /// Number of logits.
  [[nodiscard]] Index vocabulary() const { return config_.vocabulary; }
  /// The projection from hidden states to logits; it points into this model.
  [[nodiscard]] Head<B> head() const {
    return {.weight = head_ ? &*head_ : &shared_,
            .scale = *config_.scaled_head ? 1 / std::sqrt(static_cast<double>(config_.width)) : 1};
  }

  /// See LanguageModel. Sequences may have any length; an empty prompt is attended to as nothing.
  [[nodiscard]] Variable<B> hidden(Context<B>& context, const Sequences& prompts,
                                   const Sequences& responses) const {
    detail::require_pairs("encoder_decoder", prompts, responses);
    std::vector<std::int32_t> sources, source_lengths, targets, target_lengths;
    for (int i = 0; i < prompts.size(); ++i) {
      const auto prompt = prompts[i], response = responses[i];
      if (response.empty()) continue;
      sources.insert(sources.end(), prompt.begin(), prompt.end());
      source_lengths.push_back(static_cast<std::int32_t>(prompt.size()));
      targets.push_back(config_.start_token);
      targets.insert(targets.end(), response.begin(), response.end() - 1);
      target_lengths.push_back(static_cast<std::int32_t>(response.size()));
    }
    if (targets.empty()) return Variable<B>(TensorOf<B>(Shape{0, config_.width}));
    const Variable<B> encoded = encode(context, sources, source_lengths);
    auto self = std::make_shared<AttentionLayout>(), cross = std::make_shared<AttentionLayout>();
    self->queries = self->keys = cross->queries = kernels::Segments::packed(target_lengths);
    cross->keys = kernels::Segments::packed(source_lengths);
    const Variable<B> bias = decoder_position_(context, *std::ranges::max_element(target_lengths));
    return decode(context, targets, {.layout = self, .bias = &bias}, cross,
                  [&](std::size_t layer) { return decoder_[layer].cross.keys_values(context, encoded); });
  }

  /// See LanguageModel. Runs the encoder once and keeps each layer's cross-attention keys and values.
  [[nodiscard]] DecodeState<B> start(const Sequences& prompts, Index room) const {
    Context<B> context;
    const std::vector<std::int32_t> lengths = prompts.lengths();
    const Variable<B> encoded = encode(context, prompts.tokens, lengths);
    DecodeState<B> state;
    for (const auto& b : decoder_) state.cross.push_back(b.cross.keys_values(context, encoded).value());
    state.prompts = kernels::Segments::packed(lengths);
    state.cache =
        nn::KvCache<B>(config_.decoder_layers, prompts.size(), room + 1, attention_config(true).kv_width());
    advance(state, std::vector<std::int32_t>(lengths.size(), config_.start_token));
    return state;
  }

  /// See LanguageModel.
  void advance(DecodeState<B>& state, std::span<const std::int32_t> tokens) const {
    (void)extend(state, detail::one_each(tokens));
  }

  /// See ExtendableModel.
  [[nodiscard]] TensorOf<B> extend(DecodeState<B>& state, const Sequences& tokens) const {
    detail::require_live("encoder_decoder", state, tokens);
    Context<B> context;
    const std::vector<std::int32_t> lengths = tokens.lengths();
    auto cross = std::make_shared<AttentionLayout>();
    cross->queries = kernels::Segments::packed(lengths);
    cross->keys = state.prompts;
    const auto layout = state.cache.layout(lengths);
    // On a GPU of every distance there may be: all steps then make the same calls, see cuda::as_graph.
    const Index reach = std::same_as<typename B::Device, CpuDevice>
                            ? kernels::cpu::longest(layout->keys.length)
                            : state.cache.capacity;
    const Variable<B> bias = decoder_position_(context, reach);
    const TensorOf<B> h =
        decode(context, tokens.tokens, {.layout = layout, .bias = &bias, .cache = &state.cache}, cross,
               [&](std::size_t layer) { return Variable<B>(state.cross[layer]); })
            .value();
    state.cache.advance(lengths);
    state.set_hidden(h, lengths);
    return h;
  }

  /// Calls f with every parameter, in a fixed order.
  template <class F>
  void each_parameter(F&& f) {
    f(shared_);
    encoder_position_.each_parameter(f);
    for (auto& b : encoder_) b.each_parameter(f);
    encoder_norm_.each_parameter(f);
    decoder_position_.each_parameter(f);
    for (auto& b : decoder_) {
      b.self.each_parameter(f);
      b.cross_norm.each_parameter(f);
      b.cross.each_parameter(f);
    }
    decoder_norm_.each_parameter(f);
    if (head_) f(*head_);
  }

  /// Calls f with every linear layer, in the order of their parameters; embeddings and head are none.
  template <class F>
  void each_linear(F&& f) {
    const auto each = [&](Block& b) {
      b.attention.each_linear(f);
      b.ff.each_linear(f);
    };
    for (auto& b : encoder_) each(b);
    for (auto& b : decoder_) {
      each(b.self);
      b.cross.each_linear(f);
    }
  }

 private:
  using NormLayer = typename Family::template Norm<B>;
  using FeedForward = typename Family::template FeedForward<B>;

  struct Block {
    NormLayer attention_norm;
    nn::SelfAttention<B> attention;
    NormLayer ff_norm;
    FeedForward ff;

    template <class F>
    void each_parameter(F&& f) {
      attention_norm.each_parameter(f);
      attention.each_parameter(f);
      ff_norm.each_parameter(f);
      ff.each_parameter(f);
    }
  };
  struct DecoderBlock {
    Block self;
    NormLayer cross_norm;
    nn::CrossAttention<B> cross;
  };

  Config config_;
  Parameter<B> shared_;
  nn::RelativePositions<B> encoder_position_, decoder_position_;
  std::vector<Block> encoder_;
  std::vector<DecoderBlock> decoder_;
  NormLayer encoder_norm_, decoder_norm_;
  std::optional<Parameter<B>> head_;

  [[nodiscard]] nn::AttentionConfig attention_config(bool causal) const {
    return {.width = config_.width,
            .heads = config_.heads,
            .kv_heads = config_.heads,
            .head_width = config_.head_width,
            .scale = 1,
            .causal = causal,
            .bias = false,
            .dropout = config_.dropout};
  }

  [[nodiscard]] Block block(const std::string& name, bool causal) const {
    return {NormLayer(name + ".attention_norm", config_.width, config_.norm_epsilon),
            nn::SelfAttention<B>(name + ".attention", attention_config(causal)),
            NormLayer(name + ".ff_norm", config_.width, config_.norm_epsilon),
            FeedForward(name + ".ff", config_.width, config_.hidden, false)};
  }

  void initialise(RandomKey key) {
    const double width = std::pow(config_.width, -0.5), q = width * std::pow(config_.head_width, -0.5);
    const double inner = std::pow(config_.heads * config_.head_width, -0.5),
                 hidden = std::pow(config_.hidden, -0.5);
    init_normal(shared_, key, 1);
    init_normal(encoder_position_.table, key, width);
    init_normal(decoder_position_.table, key, width);
    const auto init_block = [&](Block& b) {
      init_normal(b.attention.qkv.weight, key, width);
      auto queries = b.attention.qkv.weight.value.slice(0, config_.heads * config_.head_width);
      kernels::map(typename B::Device{}, Write::overwrite, queries.size(), functors::Times{q / width},
                   queries.data(), std::as_const(queries).data());
      init_normal(b.attention.output.weight, key, inner);
      b.ff.init(key, width, hidden);
    };
    for (auto& b : encoder_) init_block(b);
    for (auto& b : decoder_) {
      init_block(b.self);
      init_normal(b.cross.q.weight, key, q);
      init_normal(b.cross.kv.weight, key, width);
      init_normal(b.cross.output.weight, key, inner);
    }
    if (head_) init_normal(*head_, key, 1);
  }

  /// Self-attention and its residual.
  [[nodiscard]] Variable<B> attend(Context<B>& context, const Block& b, const Variable<B>& h,
                                   const nn::SelfAttentionInputs<B>& in, std::size_t layer) const {
    const Variable<B> a = b.attention(context, b.attention_norm(context, h), in, static_cast<Index>(layer));
    return add(h, dropout(context, a, config_.dropout));
  }
  /// Feed-forward and its residual.
  [[nodiscard]] Variable<B> transform(Context<B>& context, const Block& b, const Variable<B>& h) const {
    return add(h, dropout(context, b.ff(context, b.ff_norm(context, h), config_.dropout), config_.dropout));
  }

  /// Encoder states (tokens, width) of packed prompts.
  [[nodiscard]] Variable<B> encode(Context<B>& context, const std::vector<std::int32_t>& tokens,
                                   const std::vector<std::int32_t>& lengths) const {
    auto layout = std::make_shared<AttentionLayout>();
    layout->queries = layout->keys = kernels::Segments::packed(lengths);
    const Variable<B> bias = encoder_position_(context, kernels::cpu::longest(lengths));
    const auto ids = detail::token_tensor<B>("encoder", tokens, config_.vocabulary);
    Variable<B> h = dropout(context, embedding(context.use(shared_), ids), config_.dropout);
    for (std::size_t i = 0; i < encoder_.size(); ++i)
      h = transform(context, encoder_[i],
                    attend(context, encoder_[i], h, {.layout = layout, .bias = &bias}, i));
    return dropout(context, encoder_norm_(context, h), config_.dropout);
  }

  /// Decoder states (tokens, width); `keys_values(layer)` gives the cross-attention's keys and values.
  template <class KeysValues>
  [[nodiscard]] Variable<B> decode(Context<B>& context, const std::vector<std::int32_t>& tokens,
                                   const nn::SelfAttentionInputs<B>& self,
                                   const std::shared_ptr<const AttentionLayout>& cross,
                                   KeysValues keys_values) const {
    const auto ids = detail::token_tensor<B>("decoder", tokens, config_.vocabulary);
    Variable<B> h = dropout(context, embedding(context.use(shared_), ids), config_.dropout);
    for (std::size_t i = 0; i < decoder_.size(); ++i) {
      const DecoderBlock& b = decoder_[i];
      h = attend(context, b.self, h, self, i);
      const Variable<B> c = b.cross(context, b.cross_norm(context, h), keys_values(i), cross);
      h = add(h, dropout(context, c, config_.dropout));
      h = transform(context, b.self, h);
    }
    return dropout(context, decoder_norm_(context, h), config_.dropout);
  }
};

}  // namespace retort
