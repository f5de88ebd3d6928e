#pragma once

#include <algorithm>
#include <concepts>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "retort/autograd/context.hpp"
#include "retort/core/batch.hpp"
#include "retort/core/sequences.hpp"
#include "retort/nn/kv_cache.hpp"
#include "retort/ops/head_loss.hpp"

/// What distillation and generation ask of a model. A decoder and an encoder-decoder both satisfy it, so that
/// each objective and each sampler exists once.
namespace retort {

/// The state of decoding: which sequences are still alive, what is cached of them, and the hidden state from
/// which the next token of each is predicted.
template <Backend B>
struct DecodeState {
  nn::KvCache<B> cache;            ///< self-attention of the decoder
  std::vector<TensorOf<B>> cross;  ///< encoder-decoder: keys and values of the prompt, one tensor a layer
  kernels::Segments prompts;       ///< encoder-decoder: each live sequence's rows in `cross`
  TensorOf<B> hidden;              ///< (live sequences, width): the head turns it into next-token logits

  /// Number of live sequences.
  [[nodiscard]] Index sequences() const { return cache.sequences(); }

  /// Takes the last of each live sequence's new `rows` (sum of counts, width) as its `hidden`; a sequence
  /// without new rows keeps the one it has. For models, at the end of a pass.
  void set_hidden(const TensorOf<B>& rows, std::span<const std::int32_t> counts) {
    if (std::ranges::all_of(counts, [](auto c) { return c == 1; })) {
      hidden = rows;
      return;
    }
    const Index width = rows.last();
    TensorOf<B> last({static_cast<Index>(counts.size()), width});
    Index end = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      end += counts[i];
      const auto at = static_cast<Index>(i) * width;
      const auto* from = counts[i] > 0 ? rows.data() + (end - 1) * width : std::as_const(hidden).data() + at;
      memory::copy(typename B::Device{}, from, last.data() + at, width);
    }
    hidden = last;
  }

  /// Forgets the last `counts[i]` tokens that each live sequence has read; the next pass goes on from there.
  /// What followed them is not known any more: the `hidden` of a sequence that is shortened is NaN until
  /// then. ValueError, and nothing changed, for more tokens than there are.
  void rewind(std::span<const std::int32_t> counts) {
    cache.rewind(counts);
    if (std::ranges::all_of(counts, [](auto c) { return c == 0; })) return;
    hidden = hidden.clone();
    const Index width = hidden.last();
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i] > 0)
        memory::fill(typename B::Device{}, hidden.data() + static_cast<Index>(i) * width, width,
                     std::numeric_limits<typename B::Scalar>::quiet_NaN());
  }

  /// Keeps the live sequences `rows`, in that order: finished ones leave the batch, beams are copied.
  void select(const std::vector<std::int32_t>& rows) {
    cache.select(rows);
    if (prompts.count() > 0) {
      kernels::Segments kept;
      for (const auto r : rows)
        kept.add(prompts.begin[static_cast<std::size_t>(r)], prompts.length[static_cast<std::size_t>(r)]);
      prompts = std::move(kept);
    }
    const auto n = static_cast<Index>(rows.size());
    const auto index = IndexTensor<B>::from({n}, rows);
    TensorOf<B> h({n, hidden.last()});
    kernels::take_rows(typename B::Device{}, n, hidden.last(), std::as_const(hidden).data(), index.data(),
                       StatisticOf<B>(1), h.data());
    hidden = h;
  }
};

/// A model of p(response | prompt), token by token. Token ids outside the vocabulary are a ValueError
/// everywhere.
template <class M>
concept LanguageModel = requires(M& m, const M& model, Context<typename M::Backend>& context,
                                 const Sequences& sequences, DecodeState<typename M::Backend>& state,
                                 std::span<const std::int32_t> tokens) {
  requires Backend<typename M::Backend>;
  /// Number of logits.
  { model.vocabulary() } -> std::convertible_to<Index>;
  /// The output projection.
  { model.head() } -> std::same_as<Head<typename M::Backend>>;
  /// Hidden states (total response tokens, width), in order: row r is the state that predicts response token
  /// r.
  { model.hidden(context, sequences, sequences) } -> std::same_as<Variable<typename M::Backend>>;
  /// Reads the prompts; room for `Index` more tokens each.
  { model.start(sequences, Index{}) } -> std::same_as<DecodeState<typename M::Backend>>;
  /// Appends one token to each live sequence.
  {model.advance(state, tokens)};
  /// Calls f with every parameter.
  m.each_parameter([](Parameter<typename M::Backend>&) {});
};

/// The most tokens that a model can read of prompt and response together; nothing for a model without such a
/// limit.
template <LanguageModel M>
[[nodiscard]] std::optional<Index> positions_of(const M& model) {
  if constexpr (requires { model.positions(); })
    return model.positions();
  else
    return std::nullopt;
}

/// A LanguageModel that reads several more tokens of each live sequence in one pass, which together with
/// `DecodeState::rewind` lets it judge tokens that somebody else proposes (speculative decoding).
template <class M>
concept ExtendableModel = LanguageModel<M> &&
    requires(const M& model, DecodeState<typename M::Backend>& state, const Sequences& tokens) {
  /// Appends tokens[i], of any number, to live sequence i. Hidden states (tokens.total(), width), in order:
  /// row r predicts what follows token r. `advance` is the case of one token each.
  { model.extend(state, tokens) } -> std::same_as<TensorOf<typename M::Backend>>;
};

/// Logits (total response tokens, vocabulary) of a response given its prompt, whole: for tests and
/// evaluation.
template <LanguageModel M>
[[nodiscard]] TensorOf<typename M::Backend> response_logits(const M& model, const Sequences& prompts,
                                                            const Sequences& responses) {
  Context<typename M::Backend> context;
  const auto hidden = model.hidden(context, prompts, responses);
  TensorOf<typename M::Backend> logits({hidden.shape()[0], model.vocabulary()});
  project(model.head(), hidden.shape()[0], hidden.data(), logits.data(), model.vocabulary());
  return logits;
}

namespace detail {

/// Token ids on the device, checked against the vocabulary.
template <Backend B>
IndexTensor<B> token_tensor(const char* op, std::span<const std::int32_t> tokens, Index vocabulary) {
  for (const auto t : tokens)
    if (t < 0 || t >= vocabulary)
      fail<ValueError>(op, "token {} is outside the vocabulary of {}", t, vocabulary);
  return IndexTensor<B>::from({static_cast<Index>(tokens.size())}, tokens);
}

/// Sequences of one token each.
inline Sequences one_each(std::span<const std::int32_t> tokens) {
  Sequences out{{tokens.begin(), tokens.end()}, {}};
  out.offsets.resize(tokens.size() + 1);
  std::iota(out.offsets.begin(), out.offsets.end(), 0);
  return out;
}

template <Backend B>
void require_live(const char* op, const DecodeState<B>& state, const Sequences& tokens) {
  if (tokens.size() != state.sequences())
    fail<ShapeError>(op, "tokens of {} sequences, but {} are live", tokens.size(), state.sequences());
}

inline void require_pairs(const char* op, const Sequences& prompts, const Sequences& responses) {
  if (prompts.size() != responses.size())
    fail<ShapeError>(op, "{} prompts but {} responses", prompts.size(), responses.size());
}

}  // namespace detail

}  // namespace retort
