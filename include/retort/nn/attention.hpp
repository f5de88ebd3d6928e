#pragma once

#include <string>

#include "retort/nn/kv_cache.hpp"
#include "retort/nn/linear.hpp"
#include "retort/ops/attention.hpp"
#include "retort/ops/rotary.hpp"

namespace retort::nn {

/// Sizes of a multi-head attention layer.
struct AttentionConfig {
  Index width = 0;  ///< of the residual stream
  Index heads = 1;
  Index kv_heads = 1;    ///< less than heads: grouped-query attention (Ainslie et al. 2023)
  Index head_width = 0;  ///< of one head; heads * head_width need not be width
  double scale = 1;      ///< of q k': 1 / sqrt(head_width), or 1 in T5
  bool causal = false;   ///< a token sees itself and those before it
  bool bias = false;     ///< biases of the projections
  double dropout = 0;    ///< of attention weights, while training

  /// Width of all queries, and of all keys (and of all values).
  [[nodiscard]] Index q_width() const { return heads * head_width; }
  [[nodiscard]] Index kv_width() const { return kv_heads * head_width; }
  /// What the op wants to know in this pass; takes a random key if weights are dropped.
  template <Backend B>
  [[nodiscard]] AttentionOptions options(Context<B>& context) const {
    AttentionOptions o{.heads = heads, .kv_heads = kv_heads, .scale = scale, .causal = causal};
    if (context.training && dropout > 0) {
      o.dropout = dropout;
      o.key = context.next_key();
    }
    return o;
  }
};

/// What all self-attention layers of a pass share.
template <Backend B>
struct SelfAttentionInputs {
  std::shared_ptr<const AttentionLayout> layout;  ///< which rows see which
  const Variable<B>* bias = nullptr;              ///< additive bias by distance, or nullptr
  const RotaryTables<B>* rotary = nullptr;  ///< by what the rows' queries and keys are turned, or nullptr
  KvCache<B>* cache = nullptr;  ///< decoding: keys (turned) and values are appended, all cached ones are seen
};

/// Multi-head self-attention with one fused projection to queries, keys and values.
template <Backend B>
struct SelfAttention {
  AttentionConfig config;
  Linear<B> qkv, output;  ///< width -> q width + 2 kv width; q width -> width

  SelfAttention() = default;
  SelfAttention(const std::string& name, const AttentionConfig& c)
      : config(c),
        qkv(name + ".qkv", c.width, c.q_width() + 2 * c.kv_width(), c.bias),
        output(name + ".output", c.q_width(), c.width, c.bias) {}

  /// x (N, width) to (N, width); `layer` is the layer's number in the cache. With a cache nothing may be
  /// recorded.
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x,
                                       const SelfAttentionInputs<B>& in, Index layer) const {
    Variable<B> projected = qkv(context, x);  // (N, q width + 2 kv width)
    if (in.rotary != nullptr)
      projected = rotary(projected, *in.rotary, config.heads + config.kv_heads, config.head_width);
    const Index q = config.q_width(), kv = config.kv_width();
    if (in.cache == nullptr)
      return output(context, attention<B>(config.options(context), in.layout, {projected, 0, q},
                                          {projected, q, kv}, {projected, q + kv, kv}, in.bias));
    in.cache->append(layer, *in.layout, {projected, q, 2 * kv});
    const Variable<B> cached(
        in.cache->layers[static_cast<std::size_t>(layer)]);  // (slots * capacity, 2 kv width)
    return output(context, attention<B>(config.options(context), in.layout, {projected, 0, q},
                                        {cached, 0, kv}, {cached, kv, kv}, in.bias));
  }

  template <class F>
  void each_parameter(F&& f) {
    qkv.each_parameter(f);
    output.each_parameter(f);
  }
  template <class F>
  void each_linear(F&& f) {
    f(qkv);
    f(output);
  }
};

/// Multi-head attention from a decoder's rows to an encoder's, keys and values from one fused projection.
template <Backend B>
struct CrossAttention {
  AttentionConfig config;
  Linear<B> q, kv, output;  ///< width -> q width; width -> 2 kv width; q width -> width

  CrossAttention() = default;
  CrossAttention(const std::string& name, const AttentionConfig& c)
      : config(c),
        q(name + ".q", c.width, c.q_width(), c.bias),
        kv(name + ".kv", c.width, 2 * c.kv_width(), c.bias),
        output(name + ".output", c.q_width(), c.width, c.bias) {}

  /// Keys and values (rows, 2 kv width) of the encoder's rows; the same for every decoding step.
  [[nodiscard]] Variable<B> keys_values(Context<B>& context, const Variable<B>& encoded) const {
    return kv(context, encoded);
  }

  /// x (N, width) to (N, width), reading `keys_values` (rows, 2 kv width) by `layout`.
  [[nodiscard]] Variable<B> operator()(Context<B>& context, const Variable<B>& x,
                                       const Variable<B>& keys_values,
                                       const std::shared_ptr<const AttentionLayout>& layout) const {
    return output(context, attention(config.options(context), layout, q(context, x), keys_values));
  }

  template <class F>
  void each_parameter(F&& f) {
    q.each_parameter(f);
    kv.each_parameter(f);
    output.each_parameter(f);
  }
  template <class F>
  void each_linear(F&& f) {
    f(q);
    f(kv);
    f(output);
  }
};

}  // namespace retort::nn
