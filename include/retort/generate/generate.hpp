#pragma once

#include <algorithm>
#include <concepts>
#include <span>
#include <vector>

#include "retort/core/philox.hpp"
#include "retort/core/policy.hpp"
#include "retort/generate/decode_step.hpp"
#include "retort/generate/host_rows.hpp"
#include "retort/generate/samplers.hpp"
#include "retort/generate/shared_prompts.hpp"
#include "retort/models/language_model.hpp"

namespace retort {

/// When generation stops, and where its random numbers come from.
struct GenerateOptions {
  Index max_tokens = 128;      ///< longest response
  std::int32_t end_token = 1;  ///< ends a response and is part of it
  RandomKey key = {};          ///< token t of sequence id i uses number t of key.fork(i)
  std::span<const std::int32_t> more_end_tokens = {};  ///< others that do; a model may have several
};

/// Sampled responses with what sampling knows about them for free.
struct Generated {
  Sequences responses;
  std::vector<double>
      log_probabilities;          ///< of each token, in the order of `responses.tokens`, under the model
  std::vector<double> log_draws;  ///< the same under the distribution it was drawn from
  std::vector<bool> finished;     ///< per response: ended by the end token, not by max_tokens
};

namespace detail {

/// Whether a token ends a response.
template <class Options>
[[nodiscard]] bool is_end_token(const Options& options, std::int32_t token) {
  return token == options.end_token ||
         std::ranges::find(options.more_end_tokens, token) != options.more_end_tokens.end();
}

}  // namespace detail

/// Watches a generation and does nothing. Another observer is anything that can be called with the number of
/// a prompt and the token that was chosen for it, its end token included: to show a response while it comes,
/// for example.
struct IgnoreTokens {
  void operator()(std::size_t, const DrawnToken&) const {}
};

namespace detail {

/// Next-token logits of one model: what `decode` draws from when it samples from a model.
template <LanguageModel M, Sampler S>
class ModelRows {
 public:
  using Backend = typename M::Backend;
  using Drawn = DrawnToken;

  ModelRows(const M& model, const S& sampler, const Sequences& prompts, Index room)
      : model_(model),
        sampler_(sampler),
        state_(start_shared(model, prompts, room)),
        logits_({prompts.size(), logits_stride<Backend>(model.vocabulary())}) {}

  [[nodiscard]] Index vocabulary() const { return model_.vocabulary(); }
  void compute(Index live) {
    if (!computed_) project(model_.head(), live, std::as_const(state_.hidden).data(), logits_.data());
    computed_ = false;
  }
  [[nodiscard]] DrawnToken draw(Index row, double u, std::vector<Index>& scratch) {
    return draw_token(sampler_, host_.row(row), vocabulary(), u, scratch);
  }
  /// Draws of all live rows where the device can: false if it cannot, and the logits are on the host then.
  [[nodiscard]] bool draw_all(std::span<const double> u, std::vector<DrawnToken>& drawn) {
    using Device = typename Backend::Device;
    const auto live = static_cast<Index>(u.size());
    if constexpr (!std::same_as<Device, CpuDevice> && DescribedSampler<S>) {
      SamplerSteps steps;
      if (sampler_.add_to(steps)) {
        kernels::draw_tokens(Device{}, steps, live, vocabulary(), logits_.data(), u.data(), drawn.data(),
                             logits_.last());
        for (const DrawnToken& d : drawn) require_drawn(d);
        return true;
      }
    }
    host_.take(logits_, live);
    return false;
  }
  void select(const std::vector<std::int32_t>& rows) { state_.select(rows); }
  void advance(const std::vector<std::int32_t>& tokens) {
    decode_step<M>(state_.sequences(), [&] {
      model_.advance(state_, tokens);
      project(model_.head(), state_.sequences(), std::as_const(state_.hidden).data(), logits_.data());
    });
    computed_ = true;
  }

 private:
  const M& model_;
  const S& sampler_;
  DecodeState<Backend> state_;
  TensorOf<Backend> logits_;  // (prompts, vocabulary), of the live sequences
  HostRows<Backend> host_;
  bool computed_ = false;  // the logits are those of the state
};

/// What `decode` returns.
template <class Drawn>
struct Decoded {
  std::vector<std::vector<Drawn>> drawn;  ///< per prompt
  std::vector<bool> finished;             ///< per prompt: ended by an end token
};

inline void require_generation(const Sequences& prompts, std::span<const std::uint64_t> ids,
                               const GenerateOptions& options) {
  if (ids.size() != static_cast<std::size_t>(prompts.size()))
    fail<ValueError>("generate", "{} prompts but {} ids", prompts.size(), ids.size());
  if (options.max_tokens < 0)
    fail<ValueError>("generate", "max_tokens {}, expected at least 0", options.max_tokens);
}

/// The loop of every sampler: all sequences draw a token, finished ones leave, the rest advance. `make()`
/// starts the rows to draw from (see ModelRows) and is not called if there is nothing to do. Token t of
/// sequence i draws with number t of options.key.fork(ids[i]).
template <class MakeRows, class Observer>
[[nodiscard]] auto decode(std::span<const std::uint64_t> ids, const GenerateOptions& options, MakeRows make,
                          const Observer& observe) {
  using Rows = decltype(make());
  using Drawn = typename Rows::Drawn;
  const std::size_t count = ids.size();
  Decoded<Drawn> out{std::vector<std::vector<Drawn>>(count), std::vector<bool>(count, false)};
  if (count == 0 || options.max_tokens == 0) return out;
  std::vector<RandomKey> keys(count);
  for (std::size_t i = 0; i < count; ++i) keys[i] = options.key.fork(ids[i]);
  Rows rows = make();
  std::vector<std::size_t> live(count);
  for (std::size_t i = 0; i < count; ++i) live[i] = i;
  for (Index t = 0; t < options.max_tokens; ++t) {
    const auto n = static_cast<Index>(live.size());
    rows.compute(n);
    std::vector<Drawn> chosen(live.size());
    std::vector<double> u(live.size());
    for (std::size_t i = 0; i < u.size(); ++i) u[i] = keys[live[i]].uniform(static_cast<std::uint64_t>(t));
    if (!rows.draw_all(u, chosen))
      parallel_for(n, 8192 / (rows.vocabulary() + 1) + 1, [&](Index begin, Index end) {
        std::vector<Index> scratch;
        for (Index i = begin; i < end; ++i)
          chosen[static_cast<std::size_t>(i)] = rows.draw(i, u[static_cast<std::size_t>(i)], scratch);
      });
    std::vector<std::int32_t> kept, tokens;
    std::vector<std::size_t> still_live;
    for (std::size_t i = 0; i < live.size(); ++i) {
      out.drawn[live[i]].push_back(chosen[i]);
      observe(live[i], chosen[i]);
      if (is_end_token(options, chosen[i].token)) {
        out.finished[live[i]] = true;
        continue;
      }
      kept.push_back(static_cast<std::int32_t>(i));
      tokens.push_back(chosen[i].token);
      still_live.push_back(live[i]);
    }
    if (kept.empty() || t + 1 == options.max_tokens) break;
    if (kept.size() < live.size()) rows.select(kept);
    live = std::move(still_live);
    rows.advance(tokens);
  }
  return out;
}

/// The tokens of what was drawn, one sequence a prompt.
template <class Drawn>
[[nodiscard]] Sequences tokens_of(const Decoded<Drawn>& decoded) {
  Sequences out;
  std::vector<std::int32_t> tokens;
  for (const auto& sequence : decoded.drawn) {
    tokens.clear();
    for (const auto& d : sequence) tokens.push_back(d.token);
    out.push_back(tokens);
  }
  return out;
}

}  // namespace detail

/// Samples a response to every prompt. All run as one batch; a finished sequence leaves it, and a prompt that
/// is asked for several samples is read once. `ids` names the sequences: the same (key, id) gives the same
/// response whatever else is in the batch and however many threads there are. Nothing is recorded and dropout
/// is off. `observe` is told every token, step by step, on the calling thread. Throws ValueError for a
/// sampler's value out of range, NumericError when the logits are not numbers.
template <LanguageModel M, Sampler S, std::invocable<std::size_t, const DrawnToken&> Observer = IgnoreTokens>
[[nodiscard]] Generated generate(const M& model, const Sequences& prompts, std::span<const std::uint64_t> ids,
                                 const S& sampler, const GenerateOptions& options,
                                 const Observer& observe = {}) {
  detail::require_generation(prompts, ids, options);
  check_policy(sampler);
  auto decoded = detail::decode(
      ids, options, [&] { return detail::ModelRows<M, S>(model, sampler, prompts, options.max_tokens); },
      observe);
  Generated out{detail::tokens_of(decoded), {}, {}, std::move(decoded.finished)};
  for (const auto& sequence : decoded.drawn)
    for (const DrawnToken& d : sequence) {
      out.log_probabilities.push_back(d.log_probability);
      out.log_draws.push_back(d.log_draw);
    }
  return out;
}

/// Log-probability of every response token under the model (softmax at `temperature`), in the order of
/// `responses.tokens`: what `generate` reports for its own samples at temperature 1.
template <LanguageModel M>
[[nodiscard]] std::vector<StatisticOf<typename M::Backend>> response_log_probabilities(
    const M& model, const Sequences& prompts, const Sequences& responses, double temperature = 1) {
  using B = typename M::Backend;
  Context<B> context;
  const auto hidden = model.hidden(context, prompts, responses);  // (tokens, width)
  const Index rows = hidden.shape()[0], v = model.vocabulary(), width = hidden.shape()[1];
  const auto targets = detail::token_tensor<B>("response_log_probabilities", responses.tokens, v);
  StatisticTensor<B> out({rows});
  const Index chunk = detail::chunk_of<B>({}, v * static_cast<Index>(sizeof(typename B::Scalar)));
  TensorOf<B> logits({std::min(rows, chunk), logits_stride<B>(v)});
  for (Index first = 0; first < rows; first += chunk) {
    const Index n = std::min(chunk, rows - first);
    project(model.head(), n, hidden.data() + first * width, logits.data());
    kernels::token_log_probabilities(typename B::Device{}, n, v, std::as_const(logits).data(),
                                     targets.data() + first, temperature, out.data() + first, logits.last());
  }
  return out.to_host();
}

}  // namespace retort
