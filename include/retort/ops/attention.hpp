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
  Index heads = 1;      ///< of the queries
  Index kv_heads = 1;   ///< of keys and values; heads / kv_heads query heads share one
  double scale = 1;     ///< multiplies q k': 1 / sqrt(width) in most models, 1 in T5
  bool causal = false;  ///< query i of n sees keys [0, keys - n + i]
  double dropout = 0;   ///< probability of dropping an attention weight; the others grow by 1 / (1 - dropout)
  RandomKey key{};      ///< of dropout
};

/// Columns [first, first + width) of the rows of a variable (rows, n): how attention finds queries, keys and
/// values in the results of fused projections.
template <Backend B>
struct Columns {
  Variable<B> rows;  ///< (rows, n)
  Index first = 0;
  Index width = 0;

  /// The first row's first element.
  [[nodiscard]] const typename B::Scalar* data() const { return rows.data() + first; }
  /// Elements from one row to the next.
  [[nodiscard]] Index stride() const { return rows.shape()[1]; }
};

namespace detail {

template <Backend B>
void require_attention(const AttentionOptions& o, const AttentionLayout& layout, const Columns<B>& q,
                       const Columns<B>& k, const Columns<B>& v, const Variable<B>* bias) {
  constexpr const char* op = "attention";
  for (const auto* c : {&q, &k, &v})
    if (c->rows.value().rank() != 2 || c->first < 0 || c->first + c->width > c->stride())
      fail<ShapeError>(op, "columns [{}, {}) of a variable of shape {}", c->first, c->first + c->width,
                       c->rows.shape());
  for (const auto& [a, b] : {std::pair{&q, &k}, {&q, &v}, {&k, &v}})
    if (a->rows.requires_grad() && a->rows.same_as(b->rows) && a->first < b->first + b->width &&
        b->first < a->first + a->width)
      fail<ShapeError>(op, "columns [{}, {}) and [{}, {}) of one variable of shape {} overlap", a->first,
                       a->first + a->width, b->first, b->first + b->width, a->rows.shape());
  if (!(o.dropout >= 0 && o.dropout < 1)) fail<ValueError>(op, "dropout {} is outside [0, 1)", o.dropout);
  if (o.heads < 1 || o.kv_heads < 1 || o.heads % o.kv_heads != 0)
    fail<ShapeError>(op, "{} query heads cannot share {} key/value heads", o.heads, o.kv_heads);
  if (q.width % o.heads != 0 || k.width * o.heads != q.width * o.kv_heads || v.width != k.width)
    fail<ShapeError>(op, "query width {} in {} heads, key width {} and value width {} in {} heads", q.width,
                     o.heads, k.width, v.width, o.kv_heads);
  if (k.rows.shape()[0] != v.rows.shape()[0])
    fail<ShapeError>(op, "key has shape {} but value has shape {}: dimension 0 must match", k.rows.shape(),
                     v.rows.shape());
  if (layout.queries.count() != layout.keys.count())
    fail<ShapeError>(op, "{} query sequences, {} key sequences", layout.queries.count(), layout.keys.count());
  for (const auto* segments : {&layout.queries, &layout.keys})
    for (std::size_t b = 0; b < segments->count(); ++b)
      if (segments->begin[b] < 0 || segments->length[b] < 0)
        fail<ShapeError>(op, "sequence {} of the layout has {} rows from row {}", b, segments->length[b],
                         segments->begin[b]);
  if (layout.queries.end() > q.rows.shape()[0] || layout.keys.end() > k.rows.shape()[0])
    fail<ShapeError>(op, "the layout names rows up to {} and {}, query has shape {} and key {}",
                     layout.queries.end(), layout.keys.end(), q.rows.shape(), k.rows.shape());
  if (bias == nullptr) return;
  if (bias->value().rank() != 2 || bias->shape()[0] != o.heads || bias->shape()[1] % 2 == 0)
    fail<ShapeError>(op, "bias has shape {}, expected ({}, 2 reach - 1)", bias->shape(), o.heads);
  const Index reach = (bias->shape()[1] + 1) / 2;
  for (std::size_t b = 0; b < layout.keys.count(); ++b)
    if (layout.keys.length[b] > reach || layout.queries.length[b] > layout.keys.length[b])
      fail<ShapeError>(op, "a bias of reach {} for {} queries and {} keys", reach, layout.queries.length[b],
                       layout.keys.length[b]);
}

/// The gradients of column ranges: ranges of the same variable share one buffer, which is zeroed unless the
/// ranges together cover it.
template <Backend B>
class ColumnGradients {
 public:
  struct Range {
    const Columns<B>& columns;
    bool rows_covered;
  };

  explicit ColumnGradients(std::initializer_list<Range> ranges) {
    for (const Range& range : ranges) {
      if (find(range.columns) != nullptr) continue;
      const Variable<B>& rows = range.columns.rows;
      Index width = 0;
      bool covered = true;
      for (const Range& other : ranges)
        if (other.columns.rows.same_as(rows)) {
          width += other.columns.width;
          covered = covered && other.rows_covered;
        }
      covered = covered && width == range.columns.stride();
      buffers_.push_back({rows, covered ? TensorOf<B>(rows.shape()) : TensorOf<B>::zeros(rows.shape())});
    }
  }
  /// Where the gradient of `c` is written.
  [[nodiscard]] typename B::Scalar* data(const Columns<B>& c) { return find(c)->data() + c.first; }
  void pass() const {
    for (const auto& [rows, gradient] : buffers_) pass_gradient(rows, gradient);
  }

 private:
  std::vector<std::pair<Variable<B>, TensorOf<B>>> buffers_;

  [[nodiscard]] TensorOf<B>* find(const Columns<B>& c) {
    for (auto& [rows, gradient] : buffers_)
      if (rows.same_as(c.rows)) return &gradient;
    return nullptr;
  }
};

}  // namespace detail

/// Attention of packed rows: q (Nq, heads * width), k and v (Nk, kv_heads * width). `bias` (heads, 2 reach -
/// 1) is added to the scores by key position minus query position (T5's relative positions, ALiBi), or
/// nullptr. Positions are counted so that the last query stands at the last key. Result (Nq, heads * width);
/// rows outside every query segment are 0. Key segments of different sequences must not overlap when
/// gradients are wanted. Throws ShapeError where heads, widths, rows and layout do not fit together.
///
/// Definition: for every sequence and head, matmul(softmax(scale matmul(q, k') + bias + mask), v) (Vaswani et
/// al. 2017, equation 1). No more than a tile of scores is in memory, forward and backward.
template <Backend B>
[[nodiscard]] Variable<B> attention(const AttentionOptions& options,
                                    std::shared_ptr<const AttentionLayout> layout, const Columns<B>& q,
                                    const Columns<B>& k, const Columns<B>& v,
                                    const Variable<B>* bias = nullptr) {
  using T = typename B::Scalar;
  detail::require_attention(options, *layout, q, k, v, bias);
  const kernels::AttentionShape shape{.heads = options.heads,
                                      .kv_heads = options.kv_heads,
                                      .width = q.width / options.heads,
                                      .q_stride = q.stride(),
                                      .k_stride = k.stride(),
                                      .v_stride = v.stride(),
                                      .o_stride = q.width,
                                      .scale = options.scale,
                                      .causal = options.causal,
                                      .bias_reach = bias != nullptr ? (bias->shape()[1] + 1) / 2 : 0,
                                      .dropout = options.dropout,
                                      .key = options.key};
  const Variable<B> b = bias != nullptr ? *bias : Variable<B>{};
  const Index rows = q.rows.shape()[0];
  const bool q_covered = layout->queries.covers(rows), kv_covered = layout->keys.covers(k.rows.shape()[0]);
  TensorOf<B> o = q_covered ? TensorOf<B>({rows, q.width}) : TensorOf<B>::zeros({rows, q.width});
  StatisticTensor<B> lse({rows, options.heads});  // log sum exp of each row of scores
  kernels::attention(typename B::Device{}, shape, layout->queries, layout->keys, q.data(), k.data(), v.data(),
                     b.data(), o.data(), lse.data());
  return record(
      "attention", o,
      [=](const TensorOf<B>& d_o) {
        detail::ColumnGradients<B> gradients({{q, q_covered}, {k, kv_covered}, {v, kv_covered}});
        const auto db = zeroed_gradient_target(b);
        kernels::attention_backward<T>(typename B::Device{}, shape, layout->queries, layout->keys, q.data(),
                                       k.data(), v.data(), b.data(), o.data(), lse.data(), d_o.data(),
                                       {gradients.data(q), gradients.data(k), gradients.data(v), db.data});
        gradients.pass();
      },
      q.rows, k.rows, v.rows, b);
}

/// Attention whose keys and values come from one projection: q (Nq, heads * width), kv (Nk, 2 * kv_heads *
/// width).
template <Backend B>
[[nodiscard]] Variable<B> attention(const AttentionOptions& options,
                                    std::shared_ptr<const AttentionLayout> layout, const Variable<B>& q,
                                    const Variable<B>& kv, const Variable<B>* bias = nullptr) {
  if (q.value().rank() != 2 || kv.value().rank() != 2 || kv.shape()[1] % 2 != 0)
    fail<ShapeError>("attention",
                     "query {} and key/value {}: expected (rows, heads * width), (rows, 2 * heads * width)",
                     q.shape(), kv.shape());
  const Index width = kv.shape()[1] / 2;
  return attention<B>(options, std::move(layout), {q, 0, q.shape()[1]}, {kv, 0, width}, {kv, width, width},
                      bias);
}

/// Self-attention from one projection: qkv (N, (heads + 2 kv_heads) * width), each row its query heads, key
/// heads, value heads.
template <Backend B>
[[nodiscard]] Variable<B> self_attention(const AttentionOptions& options,
                                         std::shared_ptr<const AttentionLayout> layout,
                                         const Variable<B>& qkv, const Variable<B>* bias = nullptr) {
  const Index parts = options.heads + 2 * options.kv_heads;
  if (qkv.value().rank() != 2 || qkv.shape()[1] % parts != 0)
    fail<ShapeError>("self_attention", "qkv has shape {}, expected (rows, {} * width)", qkv.shape(), parts);
  const Index width = qkv.shape()[1] / parts, q = options.heads * width, kv = options.kv_heads * width;
  return attention<B>(options, std::move(layout), {qkv, 0, q}, {qkv, q, kv}, {qkv, q + kv, kv}, bias);
}

}  // namespace retort
