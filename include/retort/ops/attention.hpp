#pragma once

#include <memory>

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/attention.hpp"

namespace retort {

/// Which rows of packed arrays attend to which: sequence b's queries to sequence b's keys. Shared by all
/// layers.
struct AttentionLayout {
  kernels::Segments queries, keys;
};

/// The sizes of an attention op that its inputs do not tell.
struct AttentionOptions {
  Index heads = 1;
  Index kv_heads = 1;
  double scale = 1;     ///< multiplies q k': 1 / sqrt(width) in most models, 1 in T5
  bool causal = false;  ///< query i of n sees keys [0, keys - n + i]
};

namespace detail {

template <Backend B>
void require_attention(const char* op, const AttentionOptions& o, const AttentionLayout& layout,
                       Index width_q, Index width_kv, Index q_rows, Index kv_rows, const Variable<B>* bias,
                       Index reach) {
  if (o.heads < 1 || o.kv_heads < 1 || o.heads % o.kv_heads != 0)
    fail<ShapeError>(op, "{} query heads cannot share {} key/value heads", o.heads, o.kv_heads);
  if (width_q % o.heads != 0 || width_kv * o.heads != width_q * o.kv_heads)
    fail<ShapeError>(op, "query width {} in {} heads, key/value width {} in {} heads", width_q, o.heads,
                     width_kv, o.kv_heads);
  if (layout.queries.count() != layout.keys.count())
    fail<ShapeError>(op, "{} query sequences, {} key sequences", layout.queries.count(), layout.keys.count());
  if (layout.queries.end() > q_rows || layout.keys.end() > kv_rows)
    fail<ShapeError>(op, "the layout names rows up to {} and {}, query has {} and key {}",
                     layout.queries.end(), layout.keys.end(), q_rows, kv_rows);
  if (bias != nullptr) {
    if (bias->value().rank() != 2 || bias->shape()[0] != o.heads || bias->shape()[1] % 2 == 0)
      fail<ShapeError>(op, "bias has shape {}, expected ({}, 2 reach - 1)", bias->shape(), o.heads);
    for (std::size_t b = 0; b < layout.keys.count(); ++b)
      if (layout.keys.length[b] > reach || layout.queries.length[b] > layout.keys.length[b])
        fail<ShapeError>(op, "a bias of reach {} for {} queries and {} keys", reach, layout.queries.length[b],
                         layout.keys.length[b]);
  }
}

}  // namespace detail

/// Attention of packed rows: q (Nq, heads * width), kv (Nk, 2 * kv_heads * width) keys then values of each
/// row. `bias` (heads, 2 reach - 1) is added to the scores by key position minus query position (T5's
/// relative positions, ALiBi), or nullptr. Positions are counted so that the last query stands at the last
/// key. Result (Nq, heads * width); rows outside every query segment are 0. Key segments of different
/// sequences must not overlap when gradients are wanted.
///
/// Definition: for every sequence and head, matmul(softmax(scale matmul(q, k') + bias + mask), v).
template <Backend B>
[[nodiscard]] Variable<B> attention(const AttentionOptions& options,
                                    std::shared_ptr<const AttentionLayout> layout, const Variable<B>& q,
                                    const Variable<B>& kv, const Variable<B>* bias = nullptr) {
  using T = typename B::Scalar;
  if (q.value().rank() != 2 || kv.value().rank() != 2 || kv.shape()[1] % 2 != 0)
    fail<ShapeError>("attention",
                     "query {} and key/value {}: expected (rows, heads * width), (rows, 2 * heads * width)",
                     q.shape(), kv.shape());
  const Index width_q = q.shape()[1], width_kv = kv.shape()[1] / 2;
  const Index reach = bias != nullptr ? (bias->shape()[-1] + 1) / 2 : 0;
  detail::require_attention("attention", options, *layout, width_q, width_kv, q.shape()[0], kv.shape()[0],
                            bias, reach);
  const kernels::AttentionShape shape{.heads = options.heads,
                                      .kv_heads = options.kv_heads,
                                      .width = width_q / options.heads,
                                      .q_stride = width_q,
                                      .k_stride = 2 * width_kv,
                                      .v_stride = 2 * width_kv,
                                      .o_stride = width_q,
                                      .scale = options.scale,
                                      .causal = options.causal,
                                      .bias_reach = reach};
  const Variable<B> b = bias != nullptr ? *bias : Variable<B>{};
  auto o = TensorOf<B>::zeros({q.shape()[0], width_q});
  TensorOf<B> lse({q.shape()[0], options.heads});
  kernels::attention(typename B::Device{}, shape, layout->queries, layout->keys, q.data(), kv.data(),
                     kv.data() + width_kv, b.data(), o.data(), lse.data());
  return record(
      "attention", o,
      [=](const TensorOf<B>& dy) {
        auto dq = TensorOf<B>::zeros(q.shape()), dkv = TensorOf<B>::zeros(kv.shape());
        const auto db = zeroed_gradient_target(b);
        kernels::attention_backward<T>(typename B::Device{}, shape, layout->queries, layout->keys, q.data(),
                                       kv.data(), kv.data() + width_kv, b.data(), lse.data(), dy.data(),
                                       {dq.data(), dkv.data(), dkv.data() + width_kv, db.data});
        pass_gradient(q, dq);
        pass_gradient(kv, dkv);
      },
      q, kv, b);
}

/// Self-attention from one projection: qkv (N, (heads + 2 kv_heads) * width), each row its query heads, key
/// heads, value heads. The rest as `attention`.
template <Backend B>
[[nodiscard]] Variable<B> self_attention(const AttentionOptions& options,
                                         std::shared_ptr<const AttentionLayout> layout,
                                         const Variable<B>& qkv, const Variable<B>* bias = nullptr) {
  using T = typename B::Scalar;
  const Index parts = options.heads + 2 * options.kv_heads, row = qkv.shape().last();
  if (qkv.value().rank() != 2 || row % parts != 0)
    fail<ShapeError>("self_attention", "qkv has shape {}, expected (rows, {} * width)", qkv.shape(), parts);
  const Index width = row / parts, width_q = options.heads * width, width_kv = options.kv_heads * width;
  const Index rows = qkv.shape()[0], reach = bias != nullptr ? (bias->shape()[-1] + 1) / 2 : 0;
  detail::require_attention("self_attention", options, *layout, width_q, width_kv, rows, rows, bias, reach);
  const kernels::AttentionShape shape{.heads = options.heads,
                                      .kv_heads = options.kv_heads,
                                      .width = width,
                                      .q_stride = row,
                                      .k_stride = row,
                                      .v_stride = row,
                                      .o_stride = width_q,
                                      .scale = options.scale,
                                      .causal = options.causal,
                                      .bias_reach = reach};
  const Variable<B> b = bias != nullptr ? *bias : Variable<B>{};
  auto o = TensorOf<B>::zeros({rows, width_q});
  TensorOf<B> lse({rows, options.heads});
  kernels::attention(typename B::Device{}, shape, layout->queries, layout->keys, qkv.data(),
                     qkv.data() + width_q, qkv.data() + width_q + width_kv, b.data(), o.data(), lse.data());
  return record(
      "self_attention", o,
      [=](const TensorOf<B>& dy) {
        auto d = TensorOf<B>::zeros(qkv.shape());
        const auto db = zeroed_gradient_target(b);
        kernels::attention_backward<T>(
            typename B::Device{}, shape, layout->queries, layout->keys, qkv.data(), qkv.data() + width_q,
            qkv.data() + width_q + width_kv, b.data(), lse.data(), dy.data(),
            {d.data(), d.data() + width_q, d.data() + width_q + width_kv, db.data});
        pass_gradient(qkv, d);
      },
      qkv, b);
}

}  // namespace retort
