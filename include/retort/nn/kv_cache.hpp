#pragma once

#include <numeric>
#include <span>
#include <vector>

#include "retort/kernels/cpu/gather.hpp"
#include "retort/ops/attention.hpp"

namespace retort::nn {

/// Keys and values of the tokens decoded so far, for every self-attention layer: layer l is a tensor (slots *
/// capacity, 2 * kv width), sequence i owns rows [slot[i] * capacity, + length[i]). A finished sequence just
/// leaves `slot` and `length`; nothing moves.
template <Backend B>
struct KvCache {
  std::vector<TensorOf<B>> layers;   ///< each (slots * capacity, 2 * kv width): keys, then values
  Index slots = 0;                   ///< sequences that there is room for
  Index capacity = 0;                ///< tokens a sequence may grow to
  std::vector<std::int32_t> slot;    ///< of each live sequence
  std::vector<std::int32_t> length;  ///< tokens cached of each live sequence

  KvCache() = default;
  /// Room for `tokens` tokens of each of `sequences` sequences.
  KvCache(Index layer_count, Index sequences, Index tokens, Index kv_width)
      : slots(sequences),
        capacity(tokens),
        slot(static_cast<std::size_t>(sequences)),
        length(static_cast<std::size_t>(sequences), 0) {
    std::iota(slot.begin(), slot.end(), 0);
    for (Index l = 0; l < layer_count; ++l) layers.emplace_back(Shape{sequences * tokens, 2 * kv_width});
  }

  /// Number of live sequences.
  [[nodiscard]] Index sequences() const { return static_cast<Index>(slot.size()); }

  /// How the next `rows[i]` tokens of each live sequence attend: to all that is cached and to themselves.
  /// Throws ValueError when a sequence outgrows the capacity.
  [[nodiscard]] std::shared_ptr<const AttentionLayout> layout(const std::vector<std::int32_t>& rows) const {
    auto l = std::make_shared<AttentionLayout>();
    l->queries = kernels::Segments::packed(rows);
    for (std::size_t i = 0; i < slot.size(); ++i) {
      if (length[i] + rows[i] > capacity)
        fail<ValueError>("kv_cache", "a sequence of {} tokens outgrows the capacity of {}",
                         length[i] + rows[i], capacity);
      l->keys.add(slot[i] * capacity, length[i] + rows[i]);
    }
    return l;
  }

  /// Stores the keys and values of the new tokens, columns [first, first + 2 kv width) of `rows_of`, behind
  /// what layer `l` has of each sequence.
  void append(Index l, const AttentionLayout& layout, const Columns<B>& kv) {
    auto& cache = layers[static_cast<std::size_t>(l)];
    const Index width = cache.shape()[1];
    kernels::append_rows(typename B::Device{}, layout.queries, layout.keys, width, kv.data(), kv.stride(),
                         cache.data(), width);
  }

  /// Counts the tokens of `rows` as cached, after all layers have stored them.
  void advance(const std::vector<std::int32_t>& rows) {
    for (std::size_t i = 0; i < length.size(); ++i) length[i] += rows[i];
  }

  /// Makes room for `sequences` sequences in all, of which `select` can make copies; what is cached stays.
  void reserve(Index sequences) {
    if (sequences <= slots) return;
    for (auto& layer : layers) {
      const Index width = layer.shape()[1];
      TensorOf<B> larger({sequences * capacity, width});
      for (std::size_t i = 0; i < slot.size(); ++i) {
        const Index first = slot[i] * capacity * width;
        memory::copy(typename B::Device{}, std::as_const(layer).data() + first, larger.data() + first,
                     length[i] * width);
      }
      layer = std::move(larger);
    }
    slots = sequences;
  }

  /// Forgets the last `rows[i]` tokens of each live sequence; nothing moves. ValueError, and nothing changed,
  /// for another number of sequences or more tokens than there are.
  void rewind(std::span<const std::int32_t> rows) {
    if (rows.size() != length.size())
      fail<ValueError>("kv_cache", "{} sequences to rewind, but {} are live", rows.size(), length.size());
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (rows[i] < 0 || rows[i] > length[i])
        fail<ValueError>("kv_cache", "sequence {} has {} tokens, {} cannot be forgotten", i, length[i],
                         rows[i]);
    for (std::size_t i = 0; i < rows.size(); ++i) length[i] -= rows[i];
  }

  /// Keeps the live sequences `rows`, in that order. A sequence named more than once (beam search) is copied;
  /// ValueError, and nothing changed, if there is no slot left for a copy.
  void select(const std::vector<std::int32_t>& rows) {
    if (rows.size() > static_cast<std::size_t>(slots))
      fail<ValueError>("kv_cache", "{} sequences, but only {} slots", rows.size(), slots);
    std::vector<bool> taken(static_cast<std::size_t>(slots), false), wanted = taken;
    const auto at = [](std::int32_t i) { return static_cast<std::size_t>(i); };
    for (const auto r : rows) wanted[at(slot[at(r)])] = true;
    std::vector<std::int32_t> new_slot, new_length;
    for (const auto r : rows) {
      std::int32_t s = slot[at(r)];
      const Index tokens = length[at(r)];
      if (taken[at(s)]) {  // a copy goes to a slot that nobody keeps
        std::int32_t free = 0;
        while (wanted[at(free)] || taken[at(free)]) ++free;
        for (auto& layer : layers) {
          const Index width = layer.shape()[1];
          memory::copy(typename B::Device{}, std::as_const(layer).data() + s * capacity * width,
                       layer.data() + free * capacity * width, tokens * width);
        }
        s = free;
      }
      taken[at(s)] = true;
      new_slot.push_back(s);
      new_length.push_back(length[at(r)]);
    }
    slot = std::move(new_slot);
    length = std::move(new_length);
  }
};

}  // namespace retort::nn
