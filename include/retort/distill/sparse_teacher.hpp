#pragma once

#include <cmath>
#include <concepts>
#include <variant>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/core/sparse_targets.hpp"
#include "retort/distill/objective.hpp"
#include "retort/kernels/cpu/top_k.hpp"
#include "retort/ops/head_sparse_loss.hpp"

/// Distillation from what a teacher said once: the k most probable tokens at each response token and the
/// probability of the rest, instead of the teacher itself. The loss is at most that with the whole teacher,
/// see docs/architecture.md.
namespace retort {

/// How targets are made.
struct SparseTargetsOptions {
  double temperature = 1;  ///< divides the teacher's logits; a loss on the targets has the same
  Index vocabulary = 0;  ///< of the teacher's logits, how many count; 0: all. Fewer for a student whose head
                         ///< has fewer, where the teacher's is padded
  Index chunk_rows = 0;  ///< see HeadLossOptions
};

namespace detail {

/// NumericError that says where the teacher has no numbers.
inline void require_numbers(const SparseTargets& targets, const Batch& batch) {
  int example = 0;
  for (Index r = 0; r < targets.rows(); ++r) {
    while (r >= targets.offsets[static_cast<std::size_t>(example) + 1]) ++example;
    if (std::isnan(targets.log_p[static_cast<std::size_t>(r * targets.k)]))
      fail<NumericError>("sparse_targets", "the teacher's logits are not finite at token {} of example {}",
                         r - targets.offsets[static_cast<std::size_t>(example)],
                         batch.ids[static_cast<std::size_t>(example)]);
  }
}

/// The targets on the student's device, in its numbers.
template <Backend B>
[[nodiscard]] SparseTeacherRows<B> sparse_rows(const SparseTargets& targets) {
  using S = StatisticOf<B>;
  const auto numbers = [](const Shape& shape, const std::vector<double>& x) {
    return StatisticTensor<B>::from(shape, std::vector<S>(x.begin(), x.end()));
  };
  const Index rows = targets.rows(), k = targets.k;
  return {.ids = IndexTensor<B>::from({rows, k}, targets.ids),
          .log_p = numbers({rows, k}, targets.log_p),
          .log_tail = numbers({rows}, targets.log_tail),
          .vocabulary = targets.vocabulary,
          .temperature = targets.temperature};
}

/// ValueError unless there is a row for every response token.
inline void require_targets_of(const Batch& batch, const SparseTargets& targets) {
  if (targets.size() != batch.responses.size())
    fail<ValueError>("sparse_loss", "targets of {} responses for a batch of {}", targets.size(),
                     batch.responses.size());
  for (int i = 0; i < targets.size(); ++i)
    if (targets.length(i) != batch.responses.length(i))
      fail<ValueError>("sparse_loss", "targets of {} tokens for example {}, whose response has {}",
                       targets.length(i), batch.ids[static_cast<std::size_t>(i)], batch.responses.length(i));
}

}  // namespace detail

/// The teacher's k most probable tokens and its tail at every token of `batch`'s responses, which may be the
/// data set's or samples of whichever model. The teacher is read only; logits are in memory a chunk of rows
/// at a time. Throws ValueError unless 1 <= k <= the vocabulary and the temperature is above 0, NumericError
/// where the teacher's logits are not finite (-inf, a token that cannot come, is allowed).
template <LanguageModel Teacher>
[[nodiscard]] SparseTargets sparse_targets(const Teacher& teacher, const Batch& batch, Index k,
                                           const SparseTargetsOptions& options = {}) {
  using B = typename Teacher::Backend;
  using T = typename B::Scalar;
  const Head<B> head = teacher.head();
  const Index columns = head.vocabulary(), vocabulary = options.vocabulary > 0 ? options.vocabulary : columns;
  if (vocabulary > columns || k < 1 || k > vocabulary)
    fail<ValueError>("sparse_targets", "k {} of a vocabulary of {}, expected 1 <= k <= vocabulary <= {}", k,
                     vocabulary, columns);
  if (!(options.temperature > 0))
    fail<ValueError>("sparse_targets", "temperature {}, expected > 0", options.temperature);
  batch.check();

  SparseTargets targets{.k = k, .vocabulary = vocabulary, .temperature = options.temperature};
  targets.offsets = batch.responses.offsets;
  const Index rows = batch.responses.total();
  if (rows == 0) return targets;
  Context<B> silent;
  const Variable<B> hidden = teacher.hidden(silent, batch.prompts, batch.responses);  // (rows, width)
  const Index chunk = std::min(
      rows, detail::chunk_of<B>({.chunk_rows = options.chunk_rows}, columns * static_cast<Index>(sizeof(T))));
  const Index stride = logits_stride<B>(columns);
  TensorOf<B> logits({chunk, stride});
  StatisticTensor<B> log_p({chunk, k}), log_tail({chunk});
  IndexTensor<B> ids({chunk, k});
  for (Index first = 0; first < rows; first += chunk) {
    const Index n = std::min(chunk, rows - first);
    project(head, n, hidden.value().data() + first * head.width(), logits.data());
    kernels::top_k_log_probabilities(typename B::Device{}, {n, stride, vocabulary, k, options.temperature},
                                     logits.data(), ids.data(), log_p.data(), log_tail.data());
    const auto append = [n](auto& to, const auto& from) {
      const auto values = from.slice(0, n).to_host();
      to.insert(to.end(), values.begin(), values.end());
    };
    append(targets.ids, ids), append(targets.log_p, log_p), append(targets.log_tail, log_tail);
  }
  detail::require_numbers(targets, batch);
  return targets;
}

/// `objective_loss` with targets in the place of the teacher: `targets` has a row for each token of `batch`'s
/// responses, in their order (of a micro-batch: `targets.slice`). The cross-entropy needs none and does not
/// look at them. Throws ValueError for targets of other responses, for `options.temperature` that is not the
/// targets', and for a student with fewer tokens than the targets' vocabulary.
template <class O, LanguageModel Student>
[[nodiscard]] Loss<typename Student::Backend> sparse_loss(const O& objective,
                                                          Context<typename Student::Backend>& context,
                                                          const Student& student, const Batch& batch,
                                                          const SparseTargets& targets,
                                                          const Normaliser& total,
                                                          const ObjectiveOptions& options = {}) {
  using B = typename Student::Backend;
  static_assert(Objective<O>,
                "a divergence needs term(log_p, log_q) and pull(log_p, log_q), see "
                "retort/distill/divergences.hpp; or use CrossEntropy, or AnyObjective");
  if constexpr (std::same_as<O, AnyObjective>) {
    return std::visit(
        [&](const auto& chosen) {
          return sparse_loss(chosen, context, student, batch, targets, total, options);
        },
        objective);
  } else if constexpr (std::same_as<O, CrossEntropy>) {
    return objective_loss(objective, context, student, static_cast<const Student*>(nullptr), batch, total,
                          options);
  } else {
    check_policy(objective);
    detail::require_targets_of(batch, targets);
    targets.check();
    if (batch.responses.total() == 0) return detail::no_loss<B>(context);
    const Variable<B> hidden = student.hidden(context, batch.prompts, batch.responses);  // (tokens, width)
    const auto weights =
        row_weights<B>(batch.responses, options.reduction, total, detail::temperature_factor(options));
    return detail::with_mean(head_sparse_divergence(
        context, objective, student.head(), hidden, detail::sparse_rows<B>(targets), weights,
        {.temperature = options.temperature, .chunk_rows = options.chunk_rows}));
  }
}

/// Mean divergence per response token from the targets to a student, in nats: an evaluation, nothing is
/// recorded. At most `mean_divergence` with the whole teacher.
template <Divergence D, LanguageModel Student>
[[nodiscard]] double mean_sparse_divergence(const D& divergence, const Student& student, const Batch& batch,
                                            const SparseTargets& targets) {
  Context<typename Student::Backend> silent;
  return sparse_loss(divergence, silent, student, batch, targets, Normaliser::of(batch.responses),
                     {.temperature = targets.temperature})
      .mean;
}

}  // namespace retort
