#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "retort/generate/accept_reject.hpp"
#include "retort/generate/generate.hpp"

/// Speculative decoding: a small draft model proposes, the teacher judges several tokens in one pass.
namespace retort {

/// When generation stops, where its random numbers come from, and how far the draft runs ahead.
struct SpeculativeOptions {
  Index max_tokens = 128;      ///< longest response
  std::int32_t end_token = 1;  ///< ends a response and is part of it
  RandomKey key = {};          ///< position t of sequence id i uses block t of key.fork(i)
  std::span<const std::int32_t> more_end_tokens = {};  ///< others that do; a model may have several
  Index draft_tokens = 4;  ///< most tokens that the draft proposes before the teacher judges them
};

/// Samples of a teacher, and how much of the work its draft has done.
struct Speculated {
  Generated samples;   ///< log-probabilities and log-draws are the teacher's
  Index proposed = 0;  ///< tokens that the draft proposed
  Index judged = 0;    ///< of those, which the teacher judged: what follows a rejected one is thrown away
  Index accepted = 0;  ///< of those, which it accepted
  Index teacher_passes = 0;   ///< of the whole batch, the one over the prompts included
  Index sequence_passes = 0;  ///< the same, each counted once for every sequence in it

  /// Share of the judged proposals that were accepted: its mean is 1 - TV(p, q), which DistillSpec (Zhou et
  /// al. 2024) improves. 0 if none was judged.
  [[nodiscard]] double acceptance_rate() const {
    return judged > 0 ? static_cast<double>(accepted) / static_cast<double>(judged) : 0;
  }
  /// Tokens of a sequence that a pass of the teacher brings (block efficiency); without a draft it is 1.
  [[nodiscard]] double tokens_per_pass() const {
    return sequence_passes > 0
               ? static_cast<double>(samples.responses.total()) / static_cast<double>(sequence_passes)
               : 0;
  }
};

namespace detail {

/// The loop of speculative decoding. `choices` decides what is random, see RandomChoices; it is asked from
/// several threads, for one sequence from one of them.
template <ExtendableModel Teacher, ExtendableModel Draft, Sampler S, class Choices, class Observer>
class Speculation {
 public:
  Speculation(const Teacher& teacher, const Draft& draft, const Sequences& prompts, const S& sampler,
              const SpeculativeOptions& options, Choices& choices, const Observer& observe)
      : teacher_(teacher),
        draft_(draft),
        sampler_(sampler),
        options_(options),
        choices_(choices),
        observe_(observe),
        tokens_(std::min(teacher.vocabulary(), draft.vocabulary())),
        ahead_(std::min(options.draft_tokens, options.max_tokens - 1)),
        teacher_state_(teacher.start(prompts, options.max_tokens)),
        draft_state_(draft.start(prompts, options.max_tokens)),
        responses_(static_cast<std::size_t>(prompts.size())) {
    for (std::size_t i = 0; i < responses_.size(); ++i) live_.push_back(i);
  }

  [[nodiscard]] Speculated run() {
    judge(teacher_state_.hidden);  // reading the prompts gives each response's first token
    while (keep_unfinished()) {
      propose();
      Sequences unread;  // by the teacher: the last token of the response, and the proposals
      for (const std::size_t i : live_) {
        std::vector<std::int32_t> tokens{responses_[i].drawn.back().token};
        tokens.insert(tokens.end(), responses_[i].proposals.begin(), responses_[i].proposals.end());
        unread.push_back(tokens);
      }
      judge(teacher_.extend(teacher_state_, unread));
    }
    for (const Response& r : responses_) {
      std::vector<std::int32_t> tokens;
      for (const DrawnToken& d : r.drawn) {
        tokens.push_back(d.token);
        out_.samples.log_probabilities.push_back(d.log_probability);
        out_.samples.log_draws.push_back(d.log_draw);
      }
      out_.samples.responses.push_back(tokens);
      out_.samples.finished.push_back(is_end_token(options_, tokens.back()));
    }
    return std::move(out_);
  }

 private:
  using B = typename Teacher::Backend;
  using T = StatisticOf<B>;

  struct Response {
    std::vector<DrawnToken> drawn;
    std::vector<std::int32_t> unread;     // tokens of `drawn` that the draft has not read: one or two
    std::vector<std::int32_t> proposals;  // what would come next
    std::size_t accepted = 0;             // of the proposals
    bool replaced = false;                // whether one was judged and rejected
  };

  const Teacher& teacher_;
  const Draft& draft_;
  const S& sampler_;
  const SpeculativeOptions& options_;
  Choices& choices_;
  const Observer& observe_;
  Index tokens_, ahead_;  // of the common vocabulary; that the draft may run ahead
  DecodeState<B> teacher_state_, draft_state_;
  struct Rows {
    TensorOf<B> logits;  // (sequences, vocabulary)
    HostRows<B> host;
  };
  std::vector<Rows> proposed_;  // q of every proposal, by steps of the draft
  std::vector<Response> responses_;
  std::vector<std::size_t> live_;  // numbers of the responses that are going on
  Speculated out_;

  [[nodiscard]] Index grain() const { return 8192 / (tokens_ + 1) + 1; }
  [[nodiscard]] T* proposed_row(Index step, Index i) {
    return proposed_[static_cast<std::size_t>(step)].host.row(i);
  }
  [[nodiscard]] Response& live(Index i) { return responses_[live_[static_cast<std::size_t>(i)]]; }

  /// Finished responses leave the batch. Whether any is left.
  bool keep_unfinished() {
    std::vector<std::int32_t> kept;
    std::vector<std::size_t> still_live;
    for (std::size_t i = 0; i < live_.size(); ++i) {
      const auto& drawn = responses_[live_[i]].drawn;
      if (std::ssize(drawn) == options_.max_tokens || is_end_token(options_, drawn.back().token)) continue;
      kept.push_back(static_cast<std::int32_t>(i));
      still_live.push_back(live_[i]);
    }
    if (kept.size() < live_.size() && !kept.empty()) {
      teacher_state_.select(kept);
      draft_state_.select(kept);
    }
    live_ = std::move(still_live);
    return !live_.empty();
  }

  /// How many tokens may be proposed for a response: the teacher adds one.
  [[nodiscard]] Index wanted(const Response& r) const {
    return std::min<Index>(ahead_, options_.max_tokens - std::ssize(r.drawn) - 1);
  }

  /// Draws the proposals of all live responses from the draft; it does not read its last ones. A proposed end
  /// token is the last.
  void propose() {
    const auto n = std::ssize(live_);
    Sequences unread;
    for (Index i = 0; i < n; ++i) {
      live(i).proposals.clear();
      unread.push_back(wanted(live(i)) > 0 ? live(i).unread : std::vector<std::int32_t>{});
    }
    for (Index step = 0; unread.total() > 0; ++step) {
      (void)draft_.extend(draft_state_, unread);
      if (step == std::ssize(proposed_))
        proposed_.push_back(
            {TensorOf<B>({std::ssize(responses_), logits_stride<B>(draft_.vocabulary())}), {}});
      Rows& rows = proposed_[static_cast<std::size_t>(step)];
      project(draft_.head(), n, std::as_const(draft_state_.hidden).data(), rows.logits.data());
      rows.host.take(rows.logits, n);
      parallel_for(n, grain(), [&](Index begin, Index end) {
        std::vector<Index> scratch;
        for (Index i = begin; i < end; ++i) {
          if (unread.length(static_cast<int>(i)) == 0) continue;
          Response& r = live(i);
          to_probabilities(sampler_, proposed_row(step, i), tokens_, scratch);
          const Index token = choices_.propose(live_[static_cast<std::size_t>(i)], std::ssize(r.drawn) + step,
                                               proposed_row(step, i), tokens_);
          require_token(token, "draft");
          r.proposals.push_back(static_cast<std::int32_t>(token));
        }
      });
      Sequences next;
      for (Index i = 0; i < n; ++i) {
        const Response& r = live(i);
        const bool goes_on = std::ssize(r.proposals) == step + 1 && step + 1 < wanted(r) &&
                             !is_end_token(options_, r.proposals.back());
        next.push_back(goes_on ? std::vector{r.proposals.back()} : std::vector<std::int32_t>{});
      }
      unread = std::move(next);
    }
  }

  /// Draws the next tokens of all live responses. `hidden` (sum of proposals + 1 each, width): what the
  /// teacher sees before each proposal, and after the last. Then both models forget what was not accepted.
  void judge(const TensorOf<B>& hidden) {
    const auto n = std::ssize(live_);
    const Index vocabulary = teacher_.vocabulary();
    TensorOf<B> logits({hidden.shape()[0], logits_stride<B>(vocabulary)});
    project(teacher_.head(), hidden.shape()[0], std::as_const(hidden).data(), logits.data());
    HostRows<B> host;
    host.take(logits, hidden.shape()[0]);
    std::vector<Index> first(live_.size());
    std::vector<std::size_t> known(live_.size());
    Index rows = 0;
    for (Index i = 0; i < n; ++i) {
      first[static_cast<std::size_t>(i)] = rows;
      known[static_cast<std::size_t>(i)] = live(i).drawn.size();
      rows += std::ssize(live(i).proposals) + 1;
    }
    parallel_for(n, grain(), [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) judge_one(i, host.row(first[static_cast<std::size_t>(i)]));
    });
    ++out_.teacher_passes;
    std::vector<std::int32_t> teacher_back, draft_back;
    for (Index i = 0; i < n; ++i) {
      Response& r = live(i);
      for (std::size_t t = known[static_cast<std::size_t>(i)]; t < r.drawn.size(); ++t)
        observe_(live_[static_cast<std::size_t>(i)], r.drawn[t]);
      ++out_.sequence_passes;
      out_.proposed += std::ssize(r.proposals);
      out_.accepted += static_cast<Index>(r.accepted);
      out_.judged += static_cast<Index>(r.accepted) + (r.replaced ? 1 : 0);
      const auto wrong = static_cast<std::int32_t>(r.proposals.size() - r.accepted);
      teacher_back.push_back(wrong);
      draft_back.push_back(std::max(0, wrong - 1));
      r.unread = {r.drawn.back().token};
      if (wrong == 0 && !r.proposals.empty()) r.unread.insert(r.unread.begin(), r.proposals.back());
    }
    teacher_state_.rewind(teacher_back);
    draft_state_.rewind(draft_back);
  }

  /// Accepts the proposals of live response i from the left until one is rejected or ends it; then draws one
  /// token more. `rows` (proposals + 1, teacher's vocabulary): logits before each proposal, and after the
  /// last.
  void judge_one(Index i, T* rows) {
    const std::size_t sequence = live_[static_cast<std::size_t>(i)];
    Response& r = live(i);
    r.accepted = 0, r.replaced = false;
    std::vector<Index> scratch;
    std::vector<T> raw, weights;
    for (Index step = 0;; ++step) {
      T* p = rows + step * teacher_.vocabulary();
      const auto log_p = kernels::cpu::log_normaliser(p, teacher_.vocabulary());
      if (std::isnan(log_p.rest)) require_token(-1, "teacher");
      raw.assign(p, p + tokens_);
      to_probabilities(sampler_, p, tokens_, scratch);
      const auto take = [&](Index token) {
        require_token(token, "teacher");
        r.drawn.push_back({static_cast<std::int32_t>(token),
                           static_cast<double>(log_p(raw[static_cast<std::size_t>(token)])),
                           std::log(static_cast<double>(p[token]))});
      };
      const Index t = std::ssize(r.drawn);
      if (step == std::ssize(r.proposals)) return take(choices_.draw(sequence, t, p, tokens_));
      const std::int32_t proposal = r.proposals[static_cast<std::size_t>(step)];
      const T* q = proposed_row(step, i);
      if (!choices_.accept(sequence, t, acceptance(p[proposal], q[proposal]))) {
        r.replaced = true;
        weights.resize(raw.size());
        replacement_weights(p, q, tokens_, weights.data());
        return take(choices_.draw(sequence, t, std::as_const(weights).data(), tokens_));
      }
      ++r.accepted;
      take(proposal);
      if (is_end_token(options_, proposal)) return;
    }
  }

  static void require_token(Index token, const char* whose) {
    if (token < 0)
      fail<NumericError>(
          "speculative_generate",
          "the {}'s logits are NaN, infinite or all -inf, or the sampler left no token to draw", whose);
  }
};

}  // namespace detail

/// Samples of the teacher, as `generate(teacher, ...)` draws them: responses have exactly its distribution
/// under the sampler, whatever the draft is, and with `Greedy` they are the same. The draft (a student)
/// proposes up to `draft_tokens` tokens, one after the other; the teacher reads them in one pass and accepts
/// or replaces them, see accept_reject.hpp; where it accepts all, that pass gives one token more. Both rows
/// go through the sampler's filters first. Entries that only one of the vocabularies has are never drawn.
///
/// The same (key, id) gives the same response whatever else is in the batch and however many threads there
/// are. `observe` is told every token, in its order within a response, on the calling thread. Throws
/// ValueError for a value out of range, NumericError when logits are not numbers.
template <ExtendableModel Teacher, ExtendableModel Draft, Sampler S,
          std::invocable<std::size_t, const DrawnToken&> Observer = IgnoreTokens>
[[nodiscard]] Speculated speculative_generate(const Teacher& teacher, const Draft& draft,
                                              const Sequences& prompts, std::span<const std::uint64_t> ids,
                                              const S& sampler, const SpeculativeOptions& options,
                                              const Observer& observe = {}) {
  static_assert(std::same_as<typename Teacher::Backend, typename Draft::Backend>,
                "the draft must have the teacher's backend: the same device and the same number type");
  constexpr const char* op = "speculative_generate";
  if (ids.size() != static_cast<std::size_t>(prompts.size()))
    fail<ValueError>(op, "{} prompts but {} ids", prompts.size(), ids.size());
  if (options.max_tokens < 0) fail<ValueError>(op, "max_tokens {}, expected at least 0", options.max_tokens);
  if (options.draft_tokens < 1)
    fail<ValueError>(op, "draft_tokens {}, expected at least 1", options.draft_tokens);
  check_policy(sampler);
  if (ids.empty() || options.max_tokens == 0) {
    Speculated nothing;
    for (int i = 0; i < prompts.size(); ++i) nothing.samples.responses.push_back({});
    nothing.samples.finished.assign(ids.size(), false);
    return nothing;
  }
  RandomChoices choices(options.key, ids);
  return detail::Speculation(teacher, draft, prompts, sampler, options, choices, observe).run();
}

}  // namespace retort
