#pragma once

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/gemm.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/tensor.hpp"

/// Attention over ragged segments, in tiles of query rows: a tile's scores (tile, keys) are the only
/// temporary, so memory is linear in the sequence length. The gradient recomputes the scores from the saved
/// log sum exp of each row.
namespace retort::kernels {

namespace cpu {

/// One (sequence, query head) of an attention call: pointers to its first rows.
template <Real T>
struct AttentionHead {
  const T *q, *k, *v;
  Index queries, keys;
};

inline constexpr Index attention_tile = 64;

/// Scores of query rows [first, first + rows) of one head: scale q k' + bias, -inf where a query may not
/// look. Row i has `limit(i)` visible keys; entries beyond are not written.
template <Real T>
void attention_scores(const AttentionShape& shape, const AttentionHead<T>& head, const T* bias_row,
                      Index first, Index rows, Index columns, T* scores, Index ld) {
  gemm(CpuDevice{}, Op::none, Op::transpose, rows, columns, shape.width, static_cast<T>(shape.scale),
       head.q + first * shape.q_stride, shape.q_stride, head.k, shape.k_stride, T(0), scores, ld);
  if (bias_row == nullptr) return;
  for (Index i = 0; i < rows; ++i) {
    const Index query_position = head.keys - head.queries + first + i;
    const T* bias = bias_row + (shape.bias_reach - 1 - query_position);
    T* row = scores + i * ld;
    for_packs<T>(columns, [&](Index j, Index c) { store(load(row + j, c) + load(bias + j, c), row + j, c); });
  }
}

/// Number of keys that query `i` of the head sees.
template <Real T>
Index visible_keys(const AttentionShape& shape, const AttentionHead<T>& head, Index i) {
  return shape.causal ? std::max<Index>(0, head.keys - head.queries + i + 1) : head.keys;
}

/// Drops weights of query row `row_index` (a row of the packed queries) of head `h`, in place.
template <Real T>
void drop_weights(const AttentionShape& shape, Index row_index, Index h, Index count, T* weights) {
  if (shape.dropout == 0) return;
  const T keep = static_cast<T>(1 / (1 - shape.dropout));
  const RandomKey key = shape.key.fork(static_cast<std::uint64_t>(row_index * shape.heads + h));
  for (Index j = 0; j < count; j += 4) {
    const auto words = key.block(static_cast<std::uint64_t>(j / 4));
    for (Index i = j; i < std::min(count, j + 4); ++i) {
      const double u = RandomKey::to_uniform<double>(words[static_cast<std::size_t>(i - j)]);
      weights[i] *= u < shape.dropout ? T(0) : keep;
    }
  }
}

/// Scratch of `count` elements for each thread of a loop, from the pool.
template <Real T>
class ThreadScratch {
 public:
  explicit ThreadScratch(Index count)
      : count_((count + 15) / 16 * 16),
        buffer_(static_cast<std::size_t>(count_ * thread_count()) * sizeof(T)) {}
  [[nodiscard]] T* mine() const { return static_cast<T*>(buffer_.data()) + count_ * thread_index(); }

 private:
  Index count_;
  Buffer<CpuDevice> buffer_;
};

inline Index longest(const std::vector<std::int32_t>& lengths) {
  Index n = 0;
  for (const auto l : lengths) n = std::max<Index>(n, l);
  return n;
}

template <Real T>
AttentionHead<T> attention_head(const AttentionShape& s, const Segments& queries, const Segments& keys,
                                Index b, Index h, const T* q, const T* k, const T* v) {
  const auto i = static_cast<std::size_t>(b);
  const Index kv = h / (s.heads / s.kv_heads);
  return {q + queries.begin[i] * s.q_stride + h * s.width, k + keys.begin[i] * s.k_stride + kv * s.width,
          v + keys.begin[i] * s.v_stride + kv * s.width, queries.length[i], keys.length[i]};
}

/// One query row against many keys without a gemm: decoding.
template <Real T>
void attend_one(const AttentionShape& s, const AttentionHead<T>& head, const T* bias_row, T* scores, T* out,
                T* lse) {
  using P = Pack<T>;
  const Index keys = head.keys;
  for (Index j = 0; j < keys; ++j) {
    const T* k = head.k + j * s.k_stride;
    P part(T(0));
    Index d = 0;
    for (; d + P::size <= s.width; d += P::size) part = fma(P::load(head.q + d), P::load(k + d), part);
    T dot = part.sum();
    for (; d < s.width; ++d) dot += head.q[d] * k[d];
    scores[j] = dot * static_cast<T>(s.scale) + (bias_row ? bias_row[s.bias_reach - keys + j] : T(0));
  }
  *lse = log_sum_exp(scores, keys);
  const P shift(keys == 0 ? T(0) : *lse);
  for_packs<T>(keys, [&](Index j, Index c) { store(exp(load(scores + j, c) - shift), scores + j, c); });
  for_packs<T>(s.width, [&](Index d, Index c) {
    P sum(T(0));
    for (Index j = 0; j < keys; ++j) sum = fma(P(scores[j]), load(head.v + j * s.v_stride + d, c), sum);
    store(sum, out + d, c);
  });
}

}  // namespace cpu

/// o = softmax(scale q k' + bias, causal limit) v for every sequence b and head h. Query rows of sequence b
/// are `queries` segment b, its key and value rows `keys` segment b. `bias` is (heads, 2 reach - 1) or
/// nullptr, see AttentionShape. `lse` (query rows, heads) receives each row's log sum exp for the gradient. A
/// query that sees no key gives 0.
template <Real T>
void attention(CpuDevice device, const AttentionShape& shape, const Segments& queries, const Segments& keys,
               const T* q, const T* k, const T* v, const T* bias, T* o, T* lse) {
  using P = cpu::Pack<T>;
  const Index longest_keys = cpu::longest(keys.length);
  const Index ld = (longest_keys + P::size - 1) / P::size * P::size;
  const Index items = static_cast<Index>(queries.count()) * shape.heads;
  const cpu::ThreadScratch<T> scratch(std::max<Index>(1, ld * cpu::attention_tile));
  parallel_for(items, std::max<Index>(1, 16384 / (longest_keys * shape.width + 1)),
               [&](Index first_item, Index last_item) {
                 T* scores = scratch.mine();
                 for (Index item = first_item; item < last_item; ++item) {
                   const Index b = item / shape.heads, h = item % shape.heads;
                   const auto head = cpu::attention_head(shape, queries, keys, b, h, q, k, v);
                   const T* bias_row = bias ? bias + h * (2 * shape.bias_reach - 1) : nullptr;
                   const Index row0 = queries.begin[static_cast<std::size_t>(b)];
                   T* out = o + row0 * shape.o_stride + h * shape.width;
                   T* lse_out = lse + row0 * shape.heads + h;
                   if (head.queries == 1 && shape.dropout == 0 && !(shape.causal && head.keys == 0)) {
                     cpu::attend_one(shape, head, bias_row, scores, out, lse_out);
                     continue;
                   }
                   for (Index first = 0; first < head.queries; first += cpu::attention_tile) {
                     const Index rows = std::min(cpu::attention_tile, head.queries - first);
                     const Index columns = cpu::visible_keys(shape, head, first + rows - 1);
                     cpu::attention_scores(shape, head, bias_row, first, rows, columns, scores, ld);
                     for (Index i = 0; i < rows; ++i) {
                       const Index seen = cpu::visible_keys(shape, head, first + i);
                       T* row = scores + i * ld;
                       const T l = cpu::log_sum_exp(row, seen);
                       const P shift(seen == 0 ? T(0) : l);
                       cpu::for_packs<T>(seen, [&](Index j, Index c) {
                         cpu::store(exp(cpu::load(row + j, c) - shift), row + j, c);
                       });
                       cpu::drop_weights(shape, row0 + first + i, h, seen, row);
                       std::fill(row + seen, row + std::max(seen, columns), T(0));
                       lse_out[(first + i) * shape.heads] = l;
                     }
                     gemm(device, Op::none, Op::none, rows, shape.width, columns, T(1), scores, ld, head.v,
                          shape.v_stride, T(0), out + first * shape.o_stride, shape.o_stride);
                   }
                 }
               });
}

/// Gradients of `attention` from its output `o` and those of its output, `d_o` (same layout). The key
/// segments of different sequences must be disjoint here.
template <Real T>
void attention_backward(CpuDevice device, const AttentionShape& shape, const Segments& queries,
                        const Segments& keys, const T* q, const T* k, const T* v, const T* bias,
                        [[maybe_unused]] const T* o, const T* lse, const T* d_o,
                        const AttentionGradients<T>& grad) {
  using P = cpu::Pack<T>;
  const Index ld = (cpu::longest(keys.length) + P::size - 1) / P::size * P::size;
  const Index sequences = static_cast<Index>(queries.count()), group = shape.heads / shape.kv_heads;
  const Index bias_width = 2 * shape.bias_reach - 1;
  const cpu::ThreadScratch<T> scratch(std::max<Index>(1, 2 * ld * cpu::attention_tile));

  // One (sequence, key/value head): all query heads that share it, tile by tile.
  const auto one = [&](Index b, Index kv, T* p, std::vector<double>* d_bias) {
    T* d_p = p + ld * cpu::attention_tile;
    const auto i_seq = static_cast<std::size_t>(b);
    const Index key_row = keys.begin[i_seq], query_row = queries.begin[i_seq];
    T* dk = grad.k + key_row * shape.k_stride + kv * shape.width;
    T* dv = grad.v + key_row * shape.v_stride + kv * shape.width;
    for (Index j = 0; j < keys.length[i_seq]; ++j) {
      std::fill_n(dk + j * shape.k_stride, shape.width, T(0));
      std::fill_n(dv + j * shape.v_stride, shape.width, T(0));
    }
    for (Index h = kv * group; h < (kv + 1) * group; ++h) {
      const auto head = cpu::attention_head(shape, queries, keys, b, h, q, k, v);
      const T* bias_row = bias ? bias + h * bias_width : nullptr;
      const T* lse_in = lse + query_row * shape.heads + h;
      const T* d_out = d_o + query_row * shape.o_stride + h * shape.width;
      T* dq = grad.q + query_row * shape.q_stride + h * shape.width;
      for (Index first = 0; first < head.queries; first += cpu::attention_tile) {
        const Index rows = std::min(cpu::attention_tile, head.queries - first);
        const Index columns = cpu::visible_keys(shape, head, first + rows - 1);
        cpu::attention_scores(shape, head, bias_row, first, rows, columns, p, ld);
        const T* d_out_tile = d_out + first * shape.o_stride;
        gemm(device, Op::none, Op::transpose, rows, columns, shape.width, T(1), d_out_tile, shape.o_stride,
             head.v, shape.v_stride, T(0), d_p, ld);
        for (Index i = 0; i < rows; ++i) {
          const Index seen = cpu::visible_keys(shape, head, first + i);
          T *row = p + i * ld, *d_row = d_p + i * ld;
          const P shift(seen == 0 ? T(0) : lse_in[(first + i) * shape.heads]);
          cpu::drop_weights(shape, query_row + first + i, h, seen, d_row);
          const P dot(static_cast<T>(cpu::row_sum<T>(seen, [&](Index j, Index c) {
            const P probability = exp(cpu::load(row + j, c) - shift);
            cpu::store(probability, row + j, c);
            return probability * cpu::load(d_row + j, c);
          })));
          cpu::for_packs<T>(seen, [&](Index j, Index c) {
            cpu::store(cpu::load(row + j, c) * (cpu::load(d_row + j, c) - dot), d_row + j, c);
          });
          cpu::drop_weights(shape, query_row + first + i, h, seen, row);
          std::fill(row + seen, row + std::max(seen, columns), T(0));
          std::fill(d_row + seen, d_row + std::max(seen, columns), T(0));
          if (d_bias != nullptr) {
            const Index at = shape.bias_reach - 1 - (head.keys - head.queries + first + i);
            double* to = d_bias->data() + (h - kv * group) * bias_width + at;
            for (Index j = 0; j < seen; ++j) to[j] += static_cast<double>(d_row[j]);
          }
        }
        const T scale = static_cast<T>(shape.scale);
        gemm(device, Op::none, Op::none, rows, shape.width, columns, scale, d_p, ld, head.k, shape.k_stride,
             T(0), dq + first * shape.q_stride, shape.q_stride);
        gemm(device, Op::transpose, Op::none, columns, shape.width, rows, scale, d_p, ld,
             head.q + first * shape.q_stride, shape.q_stride, T(1), dk, shape.k_stride);
        gemm(device, Op::transpose, Op::none, columns, shape.width, rows, T(1), p, ld, d_out_tile,
             shape.o_stride, T(1), dv, shape.v_stride);
      }
    }
  };

  Index scores = 0;  // of one head
  for (std::size_t b = 0; b < queries.count(); ++b) scores += Index{queries.length[b]} * keys.length[b];
  // Below some ten thousand multiply-adds a thread costs more than it brings.
  const auto grain = [](Index multiply_adds) { return 16384 / (multiply_adds + 1) + 1; };

  if (grad.bias != nullptr) {  // the bias is shared by all sequences: a thread takes whole heads
    parallel_each(shape.kv_heads, grain(scores * group * shape.width), [&](Index kv) {
      std::vector<double> d_bias(static_cast<std::size_t>(group * bias_width));
      for (Index b = 0; b < sequences; ++b) one(b, kv, scratch.mine(), &d_bias);
      T* out = grad.bias + kv * group * bias_width;
      for (Index j = 0; j < group * bias_width; ++j)
        out[j] += static_cast<T>(d_bias[static_cast<std::size_t>(j)]);
    });
    return;
  }
  const Index per_item = scores * group * shape.width / std::max<Index>(1, sequences);
  parallel_for(sequences * shape.kv_heads, grain(per_item), [&](Index begin, Index end) {
    for (Index item = begin; item < end; ++item)
      one(item / shape.kv_heads, item % shape.kv_heads, scratch.mine(), nullptr);
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_ATTENTION_INSTANCES(PREFIX, T)                                                           \
  PREFIX template void attention<T>(CpuDevice, const AttentionShape&, const Segments&, const Segments&, \
                                    const T*, const T*, const T*, const T*, T*, T*);                    \
  PREFIX template void attention_backward<T>(CpuDevice, const AttentionShape&, const Segments&,         \
                                             const Segments&, const T*, const T*, const T*, const T*,   \
                                             const T*, const T*, const T*, const AttentionGradients<T>&);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_ATTENTION_INSTANCES(extern, float)
RETORT_ATTENTION_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
