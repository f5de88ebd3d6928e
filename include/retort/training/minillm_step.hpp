#pragma once

#include <numeric>
#include <utility>

#include "retort/distill/minillm.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/optim/clip.hpp"
#include "retort/optim/optimizer.hpp"
#include "retort/training/accumulate.hpp"

namespace retort {

/// What happened in an update of MiniLLM.
struct MiniLlmReport {
  double loss = 0;         ///< the minimised value, the sum of the three that follow
  double policy = 0;       ///< the long part
  double single_step = 0;  ///< the single-step part
  double corpus = 0;       ///< corpus_weight times the corpus loss
  double gradient_norm = 0;
  Audit audit{};
};

/// One update of MiniLLM from `rollouts`, the whole batch of the update, and `corpus`, which may be nullptr
/// or empty. Gradients are accumulated over micro-batches of `options.micro_batch` examples; advantages and
/// whitening always see the whole batch. `key` belongs to the update. Throws NumericError, before the weights
/// are touched, when a reward, the loss or a gradient is not finite.
template <class S, LanguageModel Student, LanguageModel Teacher, class Policy>
MiniLlmReport minillm_step(const MiniLlm<S>& how, const Student& student, const Teacher& teacher,
                           Optimizer<Policy, typename Student::Backend>& optimizer, const Rollouts& rollouts,
                           const Batch* corpus, RandomKey key, const StepOptions& options = {}) {
  using B = typename Student::Backend;
  check_policy(how);
  MiniLlmReport report;
  const TokenTargets targets = token_targets(how, rollouts);
  optimizer.zero_grad();

  // 1. The rollouts: policy gradient and single-step part, one forward pass.
  AuditSums audit;
  AuditSums* look = &audit;  // for the first look at a micro-batch only, not for the search for NaN
  const Sequences& responses = rollouts.samples.responses;
  const Normaliser total = Normaliser::of(responses);
  StepGradients gradients = detail::step_gradients(
      "minillm_step", optimizer, rollouts.size(), key.fork(0), options,
      [&](Context<B>& context, int first, int last) {
        std::vector<int> rows(static_cast<std::size_t>(last - first));
        std::iota(rows.begin(), rows.end(), first);
        const auto first_token = static_cast<std::size_t>(responses.offsets[static_cast<std::size_t>(first)]);
        return minillm_loss(how, context, student, teacher, rollouts.select(rows), targets, first_token,
                            total, std::exchange(look, nullptr));
      },
      [&](const MiniLlmLoss<B>& loss, int, int) {
        report.policy += loss.policy;
        report.single_step += loss.single_step;
        look = &audit;
      },
      [&](int first, int last, RandomKey) {
        detail::name_teacher_not_finite("minillm_step", &teacher, rollouts.samples.slice(first, last));
      });
  report.loss = gradients.loss;
  report.audit = audit.mean();

  // 2. The corpus.
  if (how.corpus != CorpusLoss::none && corpus != nullptr && corpus->responses.total() > 0) {
    const Normaliser corpus_total = Normaliser::of(corpus->responses);
    gradients = detail::step_gradients(
        "minillm_step", optimizer, corpus->size(), key.fork(1), options,
        [&](Context<B>& context, int first, int last) {
          auto loss = corpus_loss(how, context, student, teacher, corpus->slice(first, last), corpus_total);
          loss.value = scale(loss.value, how.corpus_weight);
          return loss;
        },
        [](const Loss<B>&, int, int) {},
        [&](int first, int last, RandomKey) {
          detail::name_teacher_not_finite("minillm_step", &teacher, corpus->slice(first, last));
        });
    report.corpus = gradients.loss;
    report.loss += report.corpus;
  }

  // 3. Update, the gradient of both clipped.
  report.gradient_norm = gradients.clipped.norm;
  optimizer.step({.rate_factor = options.rate_factor, .gradient_scale = gradients.clipped.scale});
  return report;
}

}  // namespace retort
