#pragma once

#include <cmath>
#include <vector>

#include "retort/distill/importance.hpp"
#include "retort/distill/objective.hpp"
#include "retort/distill/rollouts.hpp"

/// On-policy distillation from samples that an earlier student drew: sampling is the expensive part of a
/// step, and a sample may serve several updates.
namespace retort {

/// Weight of a token's divergence when the student has changed to q from q_old, what the sample was drawn
/// from (its sampler's filters included). The divergence at token t depends on the tokens before it.
enum class StalenessWeight {
  none,    ///< 1: learns from the states that the earlier student visited
  token,   ///< q(y_t) / q_old(y_t), the ratio of the token itself: found in much software, and no correction
           ///< of anything (its expectation given the prefix is 1)
  prefix,  ///< the product of the ratios of the tokens before: exact for the sum over tokens
};

/// As logs show it.
[[nodiscard]] inline const char* staleness_weight_name(StalenessWeight w) {
  return w == StalenessWeight::none ? "none" : w == StalenessWeight::token ? "token" : "prefix";
}

/// How samples are used again.
struct Reuse {
  static constexpr const char* name = "reuse";
  int rollouts = 256;    ///< responses sampled at a time; a multiple of the batch size
  int inner_epochs = 1;  ///< passes over them
  Index staleness = 64;  ///< most updates between a sample and its last use
  StalenessWeight weight = StalenessWeight::prefix;
  double limit = 5;  ///< weights above it are cut: a product of ratios has a long tail; infinity: none

  [[nodiscard]] constexpr const char* problem() const {
    if (rollouts < 1) return "rollouts must be at least 1";
    if (inner_epochs < 1) return "inner_epochs must be at least 1";
    if (staleness < 0) return "the bound of staleness must not be negative";
    return limit > 0 ? nullptr : "the limit of weights must be above 0";
  }
  template <class F>
  void each_field(F&& f) const {
    f("rollouts", rollouts), f("inner_epochs", inner_epochs), f("staleness", staleness);
    f("weight", staleness_weight_name(weight)), f("limit", limit);
  }
};

/// A loss on stored samples with what a log wants to know.
template <Backend B>
struct ReusedLoss {
  Variable<B> value;
  double mean = 0;                   ///< unweighted mean divergence of the tokens, nats
  std::vector<double> weights = {};  ///< of each token
};

/// The divergence of stored samples' tokens, weighted by `how`. `total` counts the whole step.
template <Divergence D, LanguageModel Student, LanguageModel Teacher>
[[nodiscard]] ReusedLoss<typename Student::Backend> reused_loss(const D& divergence, const Reuse& how,
                                                                Context<typename Student::Backend>& context,
                                                                const Student& student,
                                                                const Teacher& teacher, const Rollouts& part,
                                                                const Normaliser& total,
                                                                const ObjectiveOptions& options = {}) {
  using B = typename Student::Backend;
  detail::require_same_backend<Student, Teacher>();
  check_policy(divergence);
  const Sequences& responses = part.samples.responses;
  const auto count = static_cast<std::size_t>(responses.total());
  if (count == 0) return {detail::no_loss<B>(context).value};
  std::vector<bool> first(count, false);  // token of its response
  for (int i = 0; i < responses.size(); ++i)
    if (responses.length(i) > 0)
      first[static_cast<std::size_t>(responses.offsets[static_cast<std::size_t>(i)])] = true;
  std::vector<double> weights;
  double product = 0;  // log of the ratios of the response's tokens so far
  const auto term = [&](Index row, double log_q) {
    const auto t = static_cast<std::size_t>(row);
    const double ratio = log_q - part.log_draw[t];
    if (first[t]) product = 0;
    const double log_weight = how.weight == StalenessWeight::token    ? ratio
                              : how.weight == StalenessWeight::prefix ? product
                                                                      : 0;
    product += ratio;
    weights.push_back(std::min(std::exp(log_weight), how.limit));
    return TokenTerm{.divergence_weight = weights.back()};
  };
  const Variable<B> hidden = student.hidden(context, part.samples.prompts, responses);
  Context<B> silent;
  const auto teacher_hidden = teacher.hidden(silent, part.samples.prompts, responses);
  const Head<B> teacher_head = teacher.head();
  const auto loss = head_policy_loss(
      context, divergence, student.head(), hidden, &teacher_head, teacher_hidden.value(),
      row_weights<B>(responses, options.reduction, total, detail::temperature_factor(options)),
      {.tokens = detail::token_tensor<B>("reused_loss", responses.tokens, student.vocabulary()),
       .term = term},
      {.temperature = options.temperature, .chunk_rows = options.chunk_rows});
  double sum = 0;
  for (const double d : loss.divergence) sum += d;
  return {loss.value, sum / static_cast<double>(count), std::move(weights)};
}

}  // namespace retort
