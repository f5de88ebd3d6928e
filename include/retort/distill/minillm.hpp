#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "retort/distill/audit.hpp"
#include "retort/distill/importance.hpp"
#include "retort/distill/objective.hpp"
#include "retort/distill/returns.hpp"
#include "retort/distill/rollouts.hpp"

/// MiniLLM (Gu et al., ICLR 2024, arXiv 2306.08543): the reverse KL between whole sequences, by policy
/// gradient. With r_t = log p(y_t|..) - log q(y_t|..) and R_t the sum of rewards from t on,
///
///   grad KL(q || p) = - E sum_t R_{t+1} grad log q(y_t|..)     the long part: a policy gradient
///                     + E sum_t grad KL(q_t || p_t)            the single-step part: exact, over the
///                     vocabulary
namespace retort {

/// What is learned from the corpus, beside the prompts: the paper's L_PT.
enum class CorpusLoss {
  none,
  plain,         ///< cross-entropy of the corpus
  with_teacher,  ///< half of that, and half the cross-entropy to the teacher's distributions
};

/// As logs show it.
[[nodiscard]] inline const char* corpus_loss_name(CorpusLoss c) {
  return c == CorpusLoss::none ? "none" : c == CorpusLoss::plain ? "plain" : "with_teacher";
}

/// The objective and how its samples are drawn. `minillm::paper()` and `minillm::reference()` are the two
/// settings with a name; every part can be changed alone.
template <class S = Temperature>
struct MiniLlm {
  static_assert(Sampler<S>,
                "MiniLlm: a sampler needs filter(logits, n, scratch), which changes a row in place");
  static constexpr const char* name = "minillm";
  TeacherMixed<S> sampling{};
  RewardShape reward{};
  Returns returns{.length_normalised = true};
  Whitening whitening = Whitening::none;
  Index padded_length = 0;  ///< width of the rectangle of Whitening::all; 0: the step's longest response
  ImportanceWeight importance = ImportanceWeight::single_step;
  RatioClip clip{};
  double single_step = 1;            ///< factor of the single-step part; 0 leaves it out
  bool single_step_weighted = true;  ///< the single-step part has importance weights, too
  Reduction reduction = Reduction::sequence_sum;
  CorpusLoss corpus = CorpusLoss::plain;
  double corpus_weight = 1;
  Index max_tokens = 256;                       ///< longest sampled response
  std::int32_t end_token = 1;                   ///< ends a response and is part of it
  std::vector<std::int32_t> more_end_tokens{};  ///< others that do; a model may have several
  Index chunk_rows = 0;                         ///< see HeadLossOptions

  [[nodiscard]] constexpr const char* problem() const {
    for (const char* p : {sampling.problem(), reward.problem(), returns.problem(), clip.problem()})
      if (p != nullptr) return p;
    if (!(single_step >= 0)) return "the single-step part's factor must not be negative";
    if (!(corpus_weight >= 0)) return "the corpus's weight must not be negative";
    return max_tokens >= 1 ? nullptr : "max_tokens must be at least 1";
  }
  template <class F>
  void each_field(F&& f) const {
    f("sampling", sampling), f("reward", reward), f("returns", returns);
    f("whitening", whitening_name(whitening)), f("padded_length", padded_length);
    f("importance", importance_name(importance)), f("clip", clip), f("single_step", single_step);
    f("single_step_weighted", single_step_weighted), f("reduction", reduction_name(reduction));
    f("corpus", corpus_loss_name(corpus)), f("corpus_weight", corpus_weight);
    f("max_tokens", max_tokens), f("end_token", end_token);
    if (!more_end_tokens.empty()) f("more_end_tokens", more_end_tokens);
  }

  /// How long a sampled response becomes and what ends it. It refers to this setting's end tokens.
  [[nodiscard]] GenerateOptions generation(RandomKey key) const {
    return {.max_tokens = max_tokens, .end_token = end_token, .key = key, .more_end_tokens = more_end_tokens};
  }
};

/// The two named settings (formulas: docs/formulas.md, MiniLLM).
namespace minillm {

/// As the paper has it: R_{t+1} without discount, its mean over the following tokens, importance weights of
/// one step on both parts, the ratio clipped.
[[nodiscard]] inline MiniLlm<> paper() {
  return {};
}

/// As the authors' code has it: R_t discounted by 0.95 over the number of tokens from t on, rewards halved in
/// scale and cut at 100, whitened over the padded rectangle, the weight inside the clipped ratio and not on
/// the single-step part, half of the corpus loss from the teacher.
[[nodiscard]] inline MiniLlm<> reference() {
  return {.reward = {.scale = 0.5, .limit = 100},
          .returns = {.own_reward = true, .discount = 0.95, .length_normalised = true},
          .whitening = Whitening::all,
          .clip = {.epsilon = 0.2, .weight_inside = true},
          .single_step_weighted = false,
          .reduction = Reduction::per_token,
          .corpus = CorpusLoss::with_teacher};
}

}  // namespace minillm

/// What the tokens of a step are multiplied by, in the order of the responses' tokens. Fixed before the step:
/// the rewards are those of the moment of sampling.
struct TokenTargets {
  std::vector<double> advantage;    ///< A_t, of grad log q(y_t)
  std::vector<double> weight;       ///< importance weight of the long part
  std::vector<double> single_step;  ///< factor of the single-step part, its weight included
};

/// The targets of a whole step; whitening runs over all of it. NumericError for a reward that is not finite:
/// a token that the teacher gives probability 0, unless rewards are limited.
template <class S>
[[nodiscard]] TokenTargets token_targets(const MiniLlm<S>& how, const Rollouts& step) {
  const auto& offsets = step.samples.responses.offsets;
  std::vector<double> rewards = step.rewards();
  for (std::size_t t = 0; t < rewards.size(); ++t) {
    rewards[t] = how.reward(rewards[t]);
    if (std::isfinite(rewards[t])) continue;
    const auto i = static_cast<std::size_t>(std::ranges::upper_bound(offsets, static_cast<std::int32_t>(t)) -
                                            offsets.begin() - 1);
    fail<NumericError>(
        "minillm",
        "the reward of token {} at place {} of the response to prompt {} is {}: log p = {}, log q = "
        "{}; a limit of rewards would cut it",
        step.samples.responses.tokens[t], t - static_cast<std::size_t>(offsets[i]), step.samples.ids[i],
        rewards[t], step.log_teacher[t], step.log_student[t]);
  }
  TokenTargets out;
  out.advantage = returns_of(how.returns, rewards, offsets);
  whiten(how.whitening, out.advantage, offsets, how.padded_length);
  const auto log_ratio = step.log_ratio();
  out.weight = importance_weights(how.importance, log_ratio, offsets, false);
  out.single_step = how.single_step_weighted ? importance_weights(how.importance, log_ratio, offsets, true)
                                             : std::vector<double>(out.weight.size(), 1);
  for (double& w : out.single_step) w *= how.single_step;
  return out;
}

/// A part of a MiniLLM step's loss with its shares.
template <Backend B>
struct MiniLlmLoss {
  Variable<B> value;       ///< the scalar to propagate
  double policy = 0;       ///< share of the long part
  double single_step = 0;  ///< share of the single-step part
  Index tokens = 0;
};

/// Both parts of MiniLLM's loss on `part`, examples of a step whose targets are `targets`; the part's tokens
/// begin at `first_token` of them. `total` counts the whole step. One forward pass of the student serves
/// both. `audit` may be nullptr.
template <class S, LanguageModel Student, LanguageModel Teacher>
[[nodiscard]] MiniLlmLoss<typename Student::Backend> minillm_loss(
    const MiniLlm<S>& how, Context<typename Student::Backend>& context, const Student& student,
    const Teacher& teacher, const Rollouts& part, const TokenTargets& targets, std::size_t first_token,
    const Normaliser& total, AuditSums* audit = nullptr) {
  using B = typename Student::Backend;
  using Weight = StatisticOf<B>;
  detail::require_same_backend<Student, Teacher>();
  const Sequences& responses = part.samples.responses;
  const auto count = static_cast<std::size_t>(responses.total());
  if (count == 0) return {detail::no_loss<B>(context).value};
  Index clipped = 0;
  const auto term = [&](Index row, double log_q) {
    const auto t = static_cast<std::size_t>(row);
    const Surrogate s = clipped_surrogate(how.clip, targets.advantage[first_token + t],
                                          targets.weight[first_token + t], log_q, part.log_student[t]);
    clipped += s.clipped ? 1 : 0;
    return s.term;
  };
  std::vector<Weight> factors(count);
  for (std::size_t t = 0; t < count; ++t)
    factors[t] = static_cast<Weight>(targets.single_step[first_token + t]);
  const auto weights = row_weights<B>(responses, how.reduction, total);  // (tokens)

  const Variable<B> hidden = student.hidden(context, part.samples.prompts, responses);  // (tokens, width)
  Context<B> silent;
  const auto teacher_hidden = teacher.hidden(silent, part.samples.prompts, responses);
  const Head<B> teacher_head = teacher.head();
  const auto tokens = detail::token_tensor<B>("minillm", responses.tokens, student.vocabulary());
  const auto loss = head_policy_loss(
      context, ReverseKl{}, student.head(), hidden, &teacher_head, teacher_hidden.value(), weights,
      {.tokens = tokens,
       .term = term,
       .divergence_weights = StatisticTensor<B>::from({static_cast<Index>(count)}, factors)},
      {.chunk_rows = how.chunk_rows},
      audit != nullptr ? audit->observer<B>(tokens, student.vocabulary(), teacher.vocabulary())
                       : LogitsObserver<B>{});

  MiniLlmLoss<B> out{loss.value, 0, 0, static_cast<Index>(count)};
  const auto w = weights.to_host();
  for (std::size_t t = 0; t < count; ++t) {
    out.policy += static_cast<double>(w[t]) * loss.term[t];
    out.single_step += static_cast<double>(w[t]) * targets.single_step[first_token + t] * loss.divergence[t];
  }
  if (audit != nullptr) audit->add_weights(std::span(targets.weight).subspan(first_token, count), clipped);
  return out;
}

/// The loss of a part of the step's corpus examples (the responses of `corpus`), per token of the whole
/// step's `total`; corpus_weight is not in it. 0 for CorpusLoss::none.
template <class S, LanguageModel Student, LanguageModel Teacher>
[[nodiscard]] Loss<typename Student::Backend> corpus_loss(const MiniLlm<S>& how,
                                                          Context<typename Student::Backend>& context,
                                                          const Student& student, const Teacher& teacher,
                                                          const Batch& corpus, const Normaliser& total) {
  using B = typename Student::Backend;
  const ObjectiveOptions options{.reduction = Reduction::per_token, .chunk_rows = how.chunk_rows};
  if (how.corpus == CorpusLoss::none || corpus.responses.total() == 0)
    return objective_loss(CrossEntropy{}, context, student, &teacher, Batch{}, total, options);
  if (how.corpus == CorpusLoss::plain)
    return objective_loss(CrossEntropy{}, context, student, &teacher, corpus, total, options);
  const auto count = static_cast<Index>(corpus.responses.total());
  const Variable<B> hidden = student.hidden(context, corpus.prompts, corpus.responses);  // (tokens, width)
  Context<B> silent;
  const auto teacher_hidden = teacher.hidden(silent, corpus.prompts, corpus.responses);
  const Head<B> teacher_head = teacher.head();
  const auto loss = head_policy_loss(
      context, detail::SoftCrossEntropy{}, student.head(), hidden, &teacher_head, teacher_hidden.value(),
      row_weights<B>(corpus.responses, options.reduction, total),
      {.tokens = detail::token_tensor<B>("corpus_loss", corpus.responses.tokens, student.vocabulary()),
       .term =
           [](Index, double log_q) {
             return TokenTerm{-0.5 * log_q, -0.5};
           },
       .divergence_weights = StatisticTensor<B>::full({count}, StatisticOf<B>(0.5))},
      {.chunk_rows = how.chunk_rows});
  double sum = 0;
  for (std::size_t t = 0; t < loss.term.size(); ++t) sum += loss.term[t] + 0.5 * loss.divergence[t];
  return {loss.value, sum / static_cast<double>(count), count};
}

}  // namespace retort
