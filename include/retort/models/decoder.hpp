#pragma once

#include <optional>
#include <string>
#include <vector>

#include "retort/models/language_model.hpp"
#include "retort/nn/attention.hpp"
#include "retort/nn/feed_forward.hpp"
#include "retort/nn/norm.hpp"
#include "retort/nn/position.hpp"

namespace retort {

/// Sizes of a decoder. The defaults are GPT-2 small's.
struct DecoderConfig {
  Index vocabulary = 50257;
  Index positions = 1024;  ///< longest sequence, prompt and response together
  Index width = 768;       ///< of the residual stream, a multiple of heads
  Index layers = 12;
  Index heads = 12;
  Index hidden = 3072;  ///< of the feed-forward
  double dropout = 0;   ///< of embeddings, attention weights and layer outputs
  double norm_epsilon = 1e-5;
  double init_deviation = 0.02;  ///< of fresh weights

  /// Calls f(name, value) for every size: what a run's configuration records.
  template <class F>
  void each_field(F&& f) const {
    f("vocabulary", vocabulary), f("positions", positions), f("width", width), f("layers", layers),
        f("heads", heads);
    f("hidden", hidden), f("dropout", dropout), f("norm_epsilon", norm_epsilon),
        f("init_deviation", init_deviation);
  }
};

/// GPT-2 (Radford et al. 2019) as a list of policies. Another family of pre-norm decoders is another such
/// struct.
struct Gpt2 {
  static constexpr const char* name = "gpt2";
  static constexpr bool biases = true;     ///< of projections and feed-forward
  static constexpr bool tied_head = true;  ///< the head is the embedding table
  template <Backend B>
  using Norm = nn::LayerNorm<B>;
  template <Backend B>
  using FeedForward = nn::Mlp<B, GeluTanh>;
  template <Backend B>
  using Positions = nn::LearnedPositions<B>;
};

/// A decoder-only transformer: embeddings, pre-norm blocks of causal self-attention and feed-forward, final
/// norm, head. Parameters are named `token.weight`, `position.weight`,
/// `block.<i>.{attention_norm,attention,ff_norm,ff}`, `norm`, and `head.weight` if it is not tied.
template <Backend Be, class Family = Gpt2>
class Decoder {
 public:
  using Backend = Be;
  using B = Be;
  using Config = DecoderConfig;

  /// Fresh weights: N(0, 0.02^2), the projections into the residual stream divided by sqrt(2 layers) (GPT-2,
  /// section 2.3). Weights depend on `key` and the parameters' names alone. Throws ValueError if the heads do
  /// not divide the width.
  explicit Decoder(const Config& config, RandomKey key = {})
      : config_(config),
        token_("token.weight", {config.vocabulary, config.width}),
        position_("position", config.positions, config.width),
        norm_("norm", config.width, config.norm_epsilon) {
    if (config.heads < 1 || config.width % config.heads != 0)
      fail<ValueError>("decoder", "width {} does not divide into {} heads", config.width, config.heads);
    const nn::AttentionConfig attention = attention_config();
    for (Index i = 0; i < config.layers; ++i) {
      const std::string name = "block." + std::to_string(i);
      blocks_.push_back({NormLayer(name + ".attention_norm", config.width, config.norm_epsilon),
                         nn::SelfAttention<B>(name + ".attention", attention),
                         NormLayer(name + ".ff_norm", config.width, config.norm_epsilon),
                         FeedForward(name + ".ff", config.width, config.hidden, Family::biases)});
    }
    if (!Family::tied_head) head_.emplace("head.weight", Shape{config.vocabulary, config.width});
    initialise(key);
  }

  /// The sizes it was made with.
  [[nodiscard]] const Config& config() const { return config_; }
  /// Number of logits.
  [[nodiscard]] Index vocabulary() const { return config_.vocabulary; }
  /// The projection from hidden states to logits; it points into this model.
  [[nodiscard]] Head<B> head() const { return {.weight = head_ ? &*head_ : &token_}; }

  /// See LanguageModel. Prompts must not be empty, nor longer with their response than `positions`
  /// (ValueError).
  [[nodiscard]] Variable<B> hidden(Context<B>& context, const Sequences& prompts,
                                   const Sequences& responses) const {
    detail::require_pairs("decoder", prompts, responses);
    std::vector<std::int32_t> tokens, lengths, predicting;
    for (int i = 0; i < prompts.size(); ++i) {
      const auto prompt = prompts[i], response = responses[i];
      if (response.empty()) continue;
      require_prompt(i, prompt.size());
      // The state at the prompt's last token predicts the first response token; the last response token
      // predicts nothing.
      const auto first = static_cast<std::int32_t>(tokens.size() + prompt.size()) - 1;
      tokens.insert(tokens.end(), prompt.begin(), prompt.end());
      tokens.insert(tokens.end(), response.begin(), response.end() - 1);
      lengths.push_back(static_cast<std::int32_t>(prompt.size() + response.size()) - 1);
      for (std::size_t t = 0; t < response.size(); ++t)
        predicting.push_back(first + static_cast<std::int32_t>(t));
    }
    if (tokens.empty()) return Variable<B>(TensorOf<B>(Shape{0, config_.width}));
    auto layout = std::make_shared<AttentionLayout>();
    layout->queries = layout->keys = kernels::Segments::packed(lengths);
    const Variable<B> h =
        run(context, tokens, lengths, std::vector<std::int32_t>(lengths.size(), 0), {.layout = layout});
    const auto n = static_cast<Index>(predicting.size());
    return take_rows(h, IndexTensor<B>::from({n}, predicting), 1, "response_positions");
  }

  /// See LanguageModel. The cache holds at most `positions` tokens a sequence; going on beyond is a
  /// ValueError. Throws ValueError if a response of `room` tokens would need more positions than there are
  /// (the last token of a response is not read again), so that a run does not fail at the first long sample.
  [[nodiscard]] DecodeState<B> start(const Sequences& prompts, Index room) const {
    DecodeState<B> state;
    const Index n = prompts.size(), longest = prompts.longest();
    if (longest + std::max<Index>(0, room - 1) > position_.limit())
      fail<ValueError>(
          "decoder", "a prompt of {} tokens and up to {} more, but the model has {} positions: ask for fewer",
          longest, room, position_.limit());
    state.cache = nn::KvCache<B>(config_.layers, n, std::min(longest + room, position_.limit()),
                                 attention_config().kv_width());
    std::vector<std::int32_t> lengths;
    for (int i = 0; i < prompts.size(); ++i) {
      require_prompt(i, prompts[i].size());
      lengths.push_back(prompts.length(i));
    }
    feed(state, prompts.tokens, lengths);
    return state;
  }

  /// See LanguageModel.
  void advance(DecodeState<B>& state, std::span<const std::int32_t> tokens) const {
    feed(state, {tokens.begin(), tokens.end()}, std::vector<std::int32_t>(tokens.size(), 1));
  }

  /// Calls f with every parameter, in a fixed order.
  template <class F>
  void each_parameter(F&& f) {
    f(token_);
    position_.each_parameter(f);
    for (auto& b : blocks_) {
      b.attention_norm.each_parameter(f);
      b.attention.each_parameter(f);
      b.ff_norm.each_parameter(f);
      b.ff.each_parameter(f);
    }
    norm_.each_parameter(f);
    if (head_) f(*head_);
  }

 private:
  using NormLayer = typename Family::template Norm<B>;
  using FeedForward = typename Family::template FeedForward<B>;

  struct Block {
    NormLayer attention_norm;
    nn::SelfAttention<B> attention;
    NormLayer ff_norm;
    FeedForward ff;
  };

  Config config_;
  Parameter<B> token_;
  typename Family::template Positions<B> position_;
  std::vector<Block> blocks_;
  NormLayer norm_;
  std::optional<Parameter<B>> head_;

  [[nodiscard]] nn::AttentionConfig attention_config() const {
    const Index head_width = config_.width / config_.heads;
    return {.width = config_.width,
            .heads = config_.heads,
            .kv_heads = config_.heads,
            .head_width = head_width,
            .scale = 1 / std::sqrt(static_cast<double>(head_width)),
            .causal = true,
            .bias = Family::biases,
            .dropout = config_.dropout};
  }

  void initialise(RandomKey key) {
    const double s = config_.init_deviation,
                 residual = s / std::sqrt(2.0 * static_cast<double>(config_.layers));
    init_normal(token_, key, s);
    init_normal(position_.table, key, s);
    for (auto& b : blocks_) {
      init_normal(b.attention.qkv.weight, key, s);
      init_normal(b.attention.output.weight, key, residual);
      b.ff.init(key, s, residual);
    }
    if (head_) init_normal(*head_, key, s);
  }

  void require_prompt(int i, std::size_t size) const {
    if (size == 0)
      fail<ValueError>("decoder", "prompt {} is empty, expected at least one token (such as end-of-text)", i);
  }

  /// Hidden states (tokens, width) of packed sequences; sequence i has `lengths[i]` tokens and starts at
  /// position `offsets[i]`.
  [[nodiscard]] Variable<B> run(Context<B>& context, const std::vector<std::int32_t>& tokens,
                                const std::vector<std::int32_t>& lengths,
                                const std::vector<std::int32_t>& offsets,
                                const nn::SelfAttentionInputs<B>& attention) const {
    std::vector<std::int32_t> positions;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (offsets[i] + lengths[i] > position_.limit())
        fail<ValueError>("decoder", "a sequence of {} tokens, the model has {} positions",
                         offsets[i] + lengths[i], position_.limit());
      for (std::int32_t t = 0; t < lengths[i]; ++t) positions.push_back(offsets[i] + t);
    }
    const auto n = static_cast<Index>(tokens.size());
    const auto ids = detail::token_tensor<B>("decoder", tokens, config_.vocabulary);
    const double p = config_.dropout;
    Variable<B> h =
        add(embedding(context.use(token_), ids), position_(context, IndexTensor<B>::from({n}, positions)));
    h = dropout(context, h, p);  // (N, width)
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const Block& b = blocks_[i];
      h = add(h, dropout(context,
                         b.attention(context, b.attention_norm(context, h), attention, static_cast<Index>(i)),
                         p));
      h = add(h, dropout(context, b.ff(context, b.ff_norm(context, h), 0), p));
    }
    return norm_(context, h);
  }

  /// Decodes `lengths[i]` more tokens of each live sequence and keeps the state of the last.
  void feed(DecodeState<B>& state, const std::vector<std::int32_t>& tokens,
            const std::vector<std::int32_t>& lengths) const {
    using T = typename B::Scalar;
    Context<B> context;
    const Variable<B> h = run(context, tokens, lengths, state.cache.length,
                              {.layout = state.cache.layout(lengths), .cache = &state.cache});
    state.cache.advance(lengths);
    std::vector<std::int32_t> last;
    std::int32_t at = -1;
    for (const auto n : lengths) last.push_back(at += n);
    const auto n = static_cast<Index>(last.size());
    state.hidden = TensorOf<B>({n, config_.width});
    kernels::take_rows(typename B::Device{}, n, config_.width, h.data(),
                       IndexTensor<B>::from({n}, last).data(), T(1), state.hidden.data());
  }
};

}  // namespace retort
