#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "retort/generate/generate.hpp"
#include "retort/kernels/cpu/softmax.hpp"

namespace retort {

/// ((5 + L) / 6)^alpha (Wu et al. 2016, equation 14): a hypothesis' log-probability is divided by it. A
/// penalty is any positive function of the length that is monotone.
struct GnmtPenalty {
  double alpha = 0.6;  ///< 0: no penalty, higher: longer responses
  [[nodiscard]] double operator()(Index length) const {
    return std::pow((5.0 + static_cast<double>(length)) / 6.0, alpha);
  }
};

/// L^power, as transformers' `length_penalty` has it: 1 compares means of the tokens' log-probabilities.
struct PowerPenalty {
  double power = 1;  ///< 0: no penalty, higher: longer responses
  [[nodiscard]] double operator()(Index length) const { return std::pow(static_cast<double>(length), power); }
};

/// When a prompt of a beam search is done, once it has all its hypotheses.
enum class BeamStop {
  exact,    ///< when no running beam can beat the worst of them at any length (transformers: "never")
  current,  ///< when none beats it if it ended now: quicker, and misses longer responses that a penalty would
            ///< have preferred (transformers' default, `early_stopping=False`)
};

/// A finished response and its score: log-probability / length penalty.
struct Hypothesis {
  std::vector<std::int32_t> tokens;  ///< the end token included, if it was reached
  double log_probability = 0;        ///< of the whole response
  double score = 0;
  std::vector<double> log_probabilities = {};  ///< of each token
};

/// How beam search runs.
struct BeamOptions {
  Index beams = 4;             ///< hypotheses kept of each prompt; 1 is greedy search
  Index max_tokens = 128;      ///< longest response
  std::int32_t end_token = 1;  ///< ends a response and is part of it
  BeamStop stop = BeamStop::exact;
  std::span<const std::int32_t> more_end_tokens = {};  ///< others that end a response
};

/// The `beams` best responses to every prompt, best first; `BeamStop` says when a prompt is done. A response
/// cut off at max_tokens counts as finished. There are fewer hypotheses than beams where there are fewer
/// responses of a probability above 0. Throws NumericError if the model's logits are NaN.
template <LanguageModel M, class Penalty = GnmtPenalty>
[[nodiscard]] std::vector<std::vector<Hypothesis>> beam_search(const M& model, const Sequences& prompts,
                                                               const BeamOptions& options,
                                                               const Penalty& penalty = {}) {
  using B = typename M::Backend;
  if (options.beams < 1 || options.max_tokens < 1)
    fail<ValueError>("beam_search", "{} beams of {} tokens, expected at least 1", options.beams,
                     options.max_tokens);
  struct Beam {
    std::vector<std::int32_t> tokens;
    std::vector<double> log_probabilities;
    double log_probability = 0;
  };
  struct Candidate {
    double log_probability;
    std::int32_t row, token;
  };
  const Index v = model.vocabulary();
  const auto width = static_cast<std::size_t>(options.beams);
  const auto count = static_cast<std::size_t>(prompts.size());
  std::vector<std::vector<Hypothesis>> done(count);
  if (count == 0) return done;

  // Every prompt is read once and starts with one beam; the cache gets room for all beams of all prompts.
  auto state = model.start(prompts, options.max_tokens);
  state.cache.reserve(prompts.size() * options.beams);
  std::vector<std::vector<Beam>> beams(count, {Beam{}});
  std::vector<std::size_t> live(count);
  for (std::size_t i = 0; i < count; ++i) live[i] = i;

  const auto finish = [&](std::size_t prompt, Beam beam) {
    const double score = beam.log_probability / penalty(static_cast<Index>(beam.tokens.size()));
    auto& list = done[prompt];
    list.push_back({std::move(beam.tokens), beam.log_probability, score, std::move(beam.log_probabilities)});
    std::ranges::stable_sort(list, [](const auto& a, const auto& b) { return a.score > b.score; });
    if (list.size() > width) list.pop_back();
  };

  detail::HostRows<B> host;
  for (Index t = 0; t < options.max_tokens && !live.empty(); ++t) {
    const Index rows = state.sequences();
    TensorOf<B> log_p({rows, v});
    project(model.head(), rows, std::as_const(state.hidden).data(), log_p.data(), v);
    kernels::log_softmax(typename B::Device{}, rows, v, std::as_const(log_p).data(), log_p.data());
    host.take(log_p, rows);

    std::vector<std::int32_t> kept_rows, tokens;
    std::vector<std::size_t> still_live;
    std::int32_t row = 0;
    for (const std::size_t prompt : live) {
      std::vector<Candidate> candidates;
      for (const Beam& beam : beams[prompt]) {
        const auto* p = std::as_const(host).row(row);
        if (v > 0 && p[0] != p[0])
          fail<NumericError>("beam_search", "the log-probabilities after {} tokens are NaN", t);
        for (std::int32_t token = 0; token < v; ++token)
          candidates.push_back({beam.log_probability + static_cast<double>(p[token]), row, token});
        ++row;
      }
      // 2 * beams candidates leave enough that go on even if all beams end.
      const std::size_t wanted = std::min(candidates.size(), 2 * width);
      std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(wanted),
                        candidates.end(), [](const Candidate& a, const Candidate& b) {
                          return a.log_probability > b.log_probability ||
                                 (a.log_probability == b.log_probability &&
                                  (a.row < b.row || (a.row == b.row && a.token < b.token)));
                        });
      const std::int32_t first_row = row - static_cast<std::int32_t>(beams[prompt].size());
      std::vector<Beam> next;
      std::vector<std::int32_t> next_rows;
      for (std::size_t c = 0; c < wanted && next.size() < width; ++c) {
        if (candidates[c].log_probability == -HUGE_VAL) break;  // impossible, like all that follow
        Beam beam = beams[prompt][static_cast<std::size_t>(candidates[c].row - first_row)];
        beam.tokens.push_back(candidates[c].token);
        beam.log_probabilities.push_back(candidates[c].log_probability - beam.log_probability);
        beam.log_probability = candidates[c].log_probability;
        if (detail::is_end_token(options, candidates[c].token)) {
          if (c < width) finish(prompt, std::move(beam));
        } else {
          next.push_back(std::move(beam));
          next_rows.push_back(candidates[c].row);
        }
      }
      const auto score_at = [&](Index length) { return next[0].log_probability / penalty(length); };
      const auto best_possible = [&] {
        return options.stop == BeamStop::current ? score_at(t + 1)
                                                 : std::max(score_at(t + 2), score_at(options.max_tokens));
      };
      if (t + 1 == options.max_tokens) {
        for (Beam& beam : next) finish(prompt, std::move(beam));
      } else if (!next.empty() &&
                 (done[prompt].size() < width || done[prompt].back().score < best_possible())) {
        for (std::size_t i = 0; i < next.size(); ++i) {
          kept_rows.push_back(next_rows[i]);
          tokens.push_back(next[i].tokens.back());
        }
        beams[prompt] = std::move(next);
        still_live.push_back(prompt);
      }
    }
    live = std::move(still_live);
    if (live.empty()) break;
    state.select(kept_rows);
    model.advance(state, tokens);
  }
  return done;
}

}  // namespace retort
