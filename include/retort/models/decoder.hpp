#pragma once

#include <optional>
#include <string>
#include <vector>

#include "retort/models/decoder_families.hpp"
#include "retort/models/language_model.hpp"
#include "retort/nn/attention.hpp"

namespace retort {

/// A decoder-only transformer: embeddings, blocks of causal self-attention and feed-forward, final norm,
/// head. Parameters are named `token.weight`, `position.weight`,
/// `block.<i>.{attention_norm,attention,ff_norm,ff}`, `norm`, `head.{weight,bias}` and `project.{in,out}`,
/// those that the family and the configuration ask for.
template <Backend Be, class Fam = Gpt2>
class Decoder {
  static_assert(
      DecoderFamily<Fam>,
      "Decoder: a family needs name, parallel and the templates Norm, FeedForward, Positions and Rotary over "
      "a backend, see retort/models/decoder_families.hpp");

 public:
  using Backend = Be;
  using B = Be;
  using Family = Fam;
  static constexpr bool advance_is_asynchronous = true;  ///< see AsynchronousModel
  using Config = DecoderConfig;

  /// Fresh weights: N(0, init_deviation^2), the projections into the residual stream divided by sqrt(2
  /// layers) (GPT-2, section 2.3). Weights depend on `key` and the parameters' names alone. Throws ValueError
  /// for sizes that make no model.
  explicit Decoder(const Config& config, RandomKey key = {}) : Decoder(config, std::nullopt) {
    initialise(key);
  }

  /// Matrices whose memory holds nothing yet, for weights that are loaded next.
  Decoder(const Config& config, std::nullopt_t)
      : config_(config.resolved()),
        rotary_(config_.rotary, config_.head_width),
        token_("token.weight", {config_.vocabulary, config_.embedding_width}),
        position_("position", config_.positions, config_.width) {
    const bool projected = config_.embedding_width != config_.width;
    if (projected) project_in_.emplace("project.in", config_.embedding_width, config_.width, false);
    for (Index i = 0; i < config_.layers; ++i) {
      const std::string name = "block." + std::to_string(i);
      blocks_.push_back({NormLayer(name + ".attention_norm", config_.width, config_.norm_epsilon),
                         nn::SelfAttention<B>(name + ".attention", attention_config()), std::nullopt,
                         FeedForward(name + ".ff", config_.width, config_.hidden, config_.mlp_bias)});
      if constexpr (!Family::parallel)
        blocks_.back().ff_norm.emplace(name + ".ff_norm", config_.width, config_.norm_epsilon);
    }
    if (config_.final_norm) norm_.emplace("norm", config_.width, config_.norm_epsilon);
    if (projected) project_out_.emplace("project.out", config_.width, config_.embedding_width, false);
    if (!config_.tied_head) head_.emplace("head.weight", token_.shape());
    if (config_.head_bias) {
      head_bias_.emplace("head.bias", Shape{config_.vocabulary});
      head_bias_->decay = false;
      init_constant(*head_bias_, 0);
    }
  }

  /// The sizes it was made with, `resolved()`.
  [[nodiscard]] const Config& config() const { return config_; }
  /// Number of logits.
  [[nodiscard]] Index vocabulary() const { return config_.vocabulary; }
  /// The projection from hidden states to logits; it points into this model.
  [[nodiscard]] Head<B> head() const {
    return {.weight = head_ ? &*head_ : &token_, .bias = head_bias_ ? &*head_bias_ : nullptr};
  }

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
    if (tokens.empty()) return Variable<B>(TensorOf<B>(Shape{0, config_.embedding_width}));
    auto layout = std::make_shared<AttentionLayout>();
    layout->queries = layout->keys = kernels::Segments::packed(lengths);
    const Variable<B> h =
        run(context, tokens, lengths, std::vector<std::int32_t>(lengths.size(), 0), {.layout = layout});
    const auto n = static_cast<Index>(predicting.size());
    return take_rows(h, IndexTensor<B>::from({n}, predicting), 1, "response_positions");
  }

  /// The most tokens of prompt and response together.
  [[nodiscard]] Index positions() const { return position_.limit(); }

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
    for (int i = 0; i < prompts.size(); ++i) require_prompt(i, prompts[i].size());
    (void)extend(state, prompts);
    return state;
  }

  /// See LanguageModel.
  void advance(DecodeState<B>& state, std::span<const std::int32_t> tokens) const {
    (void)extend(state, detail::one_each(tokens));
  }

  /// See ExtendableModel.
  [[nodiscard]] TensorOf<B> extend(DecodeState<B>& state, const Sequences& tokens) const {
    detail::require_live("decoder", state, tokens);
    Context<B> context;
    const std::vector<std::int32_t> lengths = tokens.lengths();
    const TensorOf<B> h = run(context, tokens.tokens, lengths, state.cache.length,
                              {.layout = state.cache.layout(lengths), .cache = &state.cache})
                              .value();
    state.cache.advance(lengths);
    state.set_hidden(h, lengths);
    return h;
  }

  /// Calls f with every parameter, in a fixed order.
  template <class F>
  void each_parameter(F&& f) {
    const auto each = [&](auto& layer) {
      if (layer) layer->each_parameter(f);
    };
    f(token_);
    each(project_in_);
    position_.each_parameter(f);
    for (auto& b : blocks_) {
      b.attention_norm.each_parameter(f);
      b.attention.each_parameter(f);
      each(b.ff_norm);
      b.ff.each_parameter(f);
    }
    each(norm_);
    each(project_out_);
    if (head_) f(*head_);
    if (head_bias_) f(*head_bias_);
  }

  /// Calls f with every linear layer, in the order of their parameters; embeddings and head are none.
  template <class F>
  void each_linear(F&& f) {
    if (project_in_) f(*project_in_);
    for (auto& b : blocks_) {
      b.attention.each_linear(f);
      b.ff.each_linear(f);
    }
    if (project_out_) f(*project_out_);
  }

 private:
  using NormLayer = typename Family::template Norm<B>;
  using FeedForward = typename Family::template FeedForward<B>;

  struct Block {
    NormLayer attention_norm;  // of the whole block if its parts are parallel
    nn::SelfAttention<B> attention;
    std::optional<NormLayer> ff_norm;
    FeedForward ff;
  };

  Config config_;
  typename Family::template Rotary<B> rotary_;
  Parameter<B> token_;
  std::optional<nn::Linear<B>> project_in_, project_out_;
  typename Family::template Positions<B> position_;
  std::vector<Block> blocks_;
  std::optional<NormLayer> norm_;
  std::optional<Parameter<B>> head_, head_bias_;

  [[nodiscard]] nn::AttentionConfig attention_config() const {
    return {.width = config_.width,
            .heads = config_.heads,
            .kv_heads = config_.kv_heads,
            .head_width = config_.head_width,
            .scale = 1 / std::sqrt(static_cast<double>(config_.head_width)),
            .causal = true,
            .bias = config_.attention_bias,
            .dropout = config_.attention_dropout};
  }

  void initialise(RandomKey key) {
    const double s = config_.init_deviation,
                 residual = s / std::sqrt(2.0 * static_cast<double>(config_.layers));
    init_normal(token_, key, s);
    position_.init(key, s);
    for (auto& b : blocks_) {
      init_normal(b.attention.qkv.weight, key, s);
      init_normal(b.attention.output.weight, key, residual);
      b.ff.init(key, s, residual);
    }
    if (project_in_) init_normal(project_in_->weight, key, s);
    if (project_out_) init_normal(project_out_->weight, key, s);
    if (head_) init_normal(*head_, key, s);
  }

  void require_prompt(int i, std::size_t size) const {
    if (size == 0)
      fail<ValueError>("decoder", "prompt {} is empty, expected at least one token (such as end-of-text)", i);
  }

  /// Hidden states (tokens, embedding width) of packed sequences; sequence i has `lengths[i]` tokens and
  /// starts at position `offsets[i]`.
  [[nodiscard]] Variable<B> run(Context<B>& context, const std::vector<std::int32_t>& tokens,
                                const std::vector<std::int32_t>& lengths,
                                const std::vector<std::int32_t>& offsets,
                                nn::SelfAttentionInputs<B> inputs) const {
    std::vector<std::int32_t> positions;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (offsets[i] + lengths[i] > position_.limit())
        fail<ValueError>("decoder", "a sequence of {} tokens, the model has {} positions",
                         offsets[i] + lengths[i], position_.limit());
      for (std::int32_t t = 0; t < lengths[i]; ++t) positions.push_back(offsets[i] + t);
    }
    RotaryTables<B> tables;
    if constexpr (Family::template Rotary<B>::turns) {
      tables = rotary_.tables(positions);
      inputs.rotary = &tables;
    }
    const auto ids = detail::token_tensor<B>("decoder", tokens, config_.vocabulary);
    Variable<B> h = embedding(context.use(token_), ids);  // (N, embedding width)
    if (project_in_) h = (*project_in_)(context, h);
    h = position_.add_to(context, h, IndexTensor<B>::from({std::ssize(positions)}, positions));
    h = dropout(context, h, config_.embedding_dropout);  // (N, width)
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      h = block(context, blocks_[i], h, inputs, static_cast<Index>(i));
    if (norm_) h = (*norm_)(context, h);
    return project_out_ ? (*project_out_)(context, h) : h;
  }

  /// One block, (N, width) to (N, width).
  [[nodiscard]] Variable<B> block(Context<B>& context, const Block& b, const Variable<B>& x,
                                  const nn::SelfAttentionInputs<B>& inputs, Index layer) const {
    const double p = config_.dropout;
    const auto attend = [&](const Variable<B>& y) {
      return dropout(context, b.attention(context, y, inputs, layer), p);
    };
    const auto transform = [&](const Variable<B>& y) { return dropout(context, b.ff(context, y, 0), p); };
    if constexpr (Family::parallel) {
      const Variable<B> y = b.attention_norm(context, x);
      const Variable<B> h = add(x, attend(y));
      return add(h, transform(y));
    } else {
      if (config_.post_norm) {
        const Variable<B> h = b.attention_norm(context, add(x, attend(x)));
        return (*b.ff_norm)(context, add(h, transform(h)));
      }
      const Variable<B> h = add(x, attend(b.attention_norm(context, x)));
      return add(h, transform((*b.ff_norm)(context, h)));
    }
  }
};

}  // namespace retort
