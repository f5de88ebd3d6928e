#pragma once

#include <cmath>

#include "retort/distill/minillm.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/optim/clip.hpp"
#include "retort/optim/optimizer.hpp"
#include "retort/training/step.hpp"

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
  require_valid(how);
  MiniLlmReport report;
  const TokenTargets targets = token_targets(how, rollouts);
  optimizer.zero_grad();
  Tape<B> tape;
  AuditSums audit;

  // f(first example, one past the last) for each micro-batch; a loss, its gradient.
  const auto micro_batches = [&](int size, const auto& f) {
    const int step = options.micro_batch > 0 ? options.micro_batch : std::max(1, size);
    for (int first = 0; first < size; first += step) f(first, std::min(size, first + step));
  };
  const auto propagate = [&](RandomKey micro_key, const auto& loss_of) {
    Context<B> context{.tape = &tape, .training = true, .key = micro_key};
    const auto loss = loss_of(context);
    const double value = static_cast<double>(loss.value.item());
    if (!std::isfinite(value)) {
      detail::name_first_not_finite<B>(micro_key, loss_of);
      fail<NumericError>("minillm_step", "the loss is {}", value);
    }
    report.loss += value;
    tape.backward(loss.value);
    tape.clear();
    return loss;
  };

  // 1. The rollouts: policy gradient and single-step part, one forward pass.
  const Normaliser total = Normaliser::of(rollouts.samples.responses);
  micro_batches(rollouts.size(), [&](int first, int last) {
    std::vector<int> rows;
    for (int i = first; i < last; ++i) rows.push_back(i);
    const Rollouts part = rollouts.select(rows);
    const auto first_token =
        static_cast<std::size_t>(rollouts.samples.responses.offsets[static_cast<std::size_t>(first)]);
    AuditSums* look = &audit;
    const auto loss =
        propagate(key.fork(2 + 2 * static_cast<std::uint64_t>(first)), [&](Context<B>& context) {
          return minillm_loss(how, context, student, teacher, part, targets, first_token, total,
                              std::exchange(look, nullptr));
        });
    report.policy += loss.policy;
    report.single_step += loss.single_step;
  });
  report.audit = audit.mean();

  // 2. The corpus.
  if (how.corpus != CorpusLoss::none && corpus != nullptr && corpus->responses.total() > 0) {
    const Normaliser corpus_total = Normaliser::of(corpus->responses);
    const double before = report.loss;
    micro_batches(corpus->size(), [&](int first, int last) {
      const Batch part = corpus->slice(first, last);
      (void)propagate(key.fork(3 + 2 * static_cast<std::uint64_t>(first)), [&](Context<B>& context) {
        auto loss = corpus_loss(how, context, student, teacher, part, corpus_total);
        loss.value = scale(loss.value, how.corpus_weight);
        return loss;
      });
    });
    report.corpus = report.loss - before;
  }

  // 3. Clip and update.
  const ClippedNorm clipped = clip_by_norm(optimizer.parameters(), options.clip_norm);
  report.gradient_norm = clipped.norm;
  optimizer.step({.rate_factor = options.rate_factor, .gradient_scale = clipped.scale});
  return report;
}

}  // namespace retort
