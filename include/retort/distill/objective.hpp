#pragma once

#include <concepts>
#include <limits>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/distill/divergence.hpp"
#include "retort/distill/divergence_instances.hpp"
#include "retort/models/language_model.hpp"

/// The loss of one batch: a divergence from the teacher, or the cross-entropy of the responses, with its
/// reduction.
namespace retort {

/// How token losses are averaged.
enum class Reduction {
  per_sequence,  ///< 1/B sum_b 1/L_b sum_t: every sequence counts the same (the GKD paper)
  per_token,     ///< sum / N: every token counts the same
  sequence_sum,  ///< 1/B sum_b sum_t: the gradient of a divergence between whole sequences (MiniLLM's paper)
};

/// As logs show it.
[[nodiscard]] inline const char* reduction_name(Reduction r) {
  return r == Reduction::per_sequence ? "per_sequence"
         : r == Reduction::per_token  ? "per_token"
                                      : "sequence_sum";
}

/// What a step divides by: counted over the whole optimizer step, so that splitting it into micro-batches
/// changes nothing.
struct Normaliser {
  Index sequences = 0;
  Index tokens = 0;  ///< of responses

  /// Of a step whose responses are all here.
  [[nodiscard]] static Normaliser of(const Sequences& responses) {
    return {responses.size(), responses.total()};
  }
};

/// Weight of each response token's loss, in the order of `responses.tokens`. No token: no weight, and a loss
/// of 0.
template <Backend B>
[[nodiscard]] StatisticTensor<B> row_weights(const Sequences& responses, Reduction reduction,
                                             const Normaliser& total, double factor = 1) {
  using S = StatisticOf<B>;
  std::vector<S> weights;
  weights.reserve(static_cast<std::size_t>(responses.total()));
  for (int i = 0; i < responses.size(); ++i) {
    const int length = responses.length(i);
    const double divisor =
        reduction == Reduction::per_token
            ? static_cast<double>(total.tokens)
            : static_cast<double>(total.sequences) *
                  (reduction == Reduction::per_sequence ? static_cast<double>(length) : 1.0);
    for (int t = 0; t < length; ++t) weights.push_back(static_cast<S>(factor / divisor));
  }
  return StatisticTensor<B>::from({static_cast<Index>(weights.size())}, weights);
}

/// The loss of SFT and SeqKD: -log q of the responses' tokens. Needs no teacher.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  template <class F>
  void each_field(F&&) const {}
};

/// What a recipe minimises on its responses: a divergence, the cross-entropy, or a choice made at run time.
using AnyObjective = std::variant<CrossEntropy, ForwardKl, ReverseKl, Jsd, NormalisedJsd, TotalVariation,
                                  SkewForwardKl, SkewReverseKl, SymmetricKl>;

/// What a recipe can minimise.
template <class O>
concept Objective = Divergence<O> || std::same_as<O, CrossEntropy> || std::same_as<O, AnyObjective>;

/// A divergence chosen at run time as an objective chosen at run time.
[[nodiscard]] inline AnyObjective as_objective(const AnyDivergence& divergence) {
  return std::visit([](const auto& d) { return AnyObjective(d); }, divergence);
}

/// A loss with what a log wants to know.
template <Backend B>
struct Loss {
  Variable<B> value;  ///< the scalar to propagate
  double mean = 0;    ///< unweighted mean over the response tokens (nats per token), 0 if there is none
  Index tokens = 0;   ///< response tokens
};

/// How an objective is computed.
struct ObjectiveOptions {
  static constexpr const char* name = "loss";
  Reduction reduction = Reduction::per_sequence;
  double temperature = 1;                  ///< of a divergence: divides both models' logits
  bool times_temperature_squared = false;  ///< multiply the loss by temperature^2 (Hinton et al. 2015)
  Index chunk_rows = 0;                    ///< see HeadLossOptions

  [[nodiscard]] constexpr const char* problem() const {
    return temperature > 0 && temperature <= std::numeric_limits<double>::max()
               ? nullptr
               : "the loss's temperature must be a number above 0";
  }
  template <class F>
  void each_field(F&& f) const {
    f("reduction", reduction_name(reduction));
    f("temperature", temperature);
    f("times_temperature_squared", times_temperature_squared);
  }
};

namespace detail {

/// The two models of a loss compute in the same number type on the same device.
template <class Student, class Teacher>
constexpr void require_same_backend() {
  static_assert(std::same_as<typename Student::Backend, typename Teacher::Backend>,
                "the teacher must have the student's backend: the same device and the same number type");
}

/// The loss of responses without a token: 0, with zero gradients.
template <Backend B>
[[nodiscard]] Loss<B> no_loss(const Context<B>& context) {
  const auto nothing = TensorOf<B>::zeros({});
  return {context.tape != nullptr ? context.tape->leaf(nothing) : Variable<B>(nothing), 0, 0};
}

/// A fused loss with the mean of its rows.
template <Backend B>
[[nodiscard]] Loss<B> with_mean(const HeadLoss<B>& loss) {
  double sum = 0;
  for (const double l : loss.per_row) sum += l;
  const auto tokens = static_cast<Index>(loss.per_row.size());
  return {loss.value, sum / static_cast<double>(tokens), tokens};
}

/// The temperature's square if the loss is to be multiplied by it, else 1.
[[nodiscard]] inline double temperature_factor(const ObjectiveOptions& options) {
  return options.times_temperature_squared ? options.temperature * options.temperature : 1;
}

}  // namespace detail

/// Makes the observer of a part's rows, whose tokens are (rows): (tokens, student's vocabulary, teacher's).
/// See AuditSums.
template <Backend B>
using RowsObserver = std::function<LogitsObserver<B>(const IndexTensor<B>&, Index, Index)>;

/// The loss of `batch`'s responses; 0, with zero gradients, if they have no token. The teacher is read only
/// (no record, no dropout); for CrossEntropy, which knows no temperature, it may be nullptr. `observe` sees
/// the rows of a divergence.
template <class O, LanguageModel Student, LanguageModel Teacher>
[[nodiscard]] Loss<typename Student::Backend> objective_loss(
    const O& objective, Context<typename Student::Backend>& context, const Student& student,
    const Teacher* teacher, const Batch& batch, const Normaliser& total, const ObjectiveOptions& options = {},
    const RowsObserver<typename Student::Backend>& observe = {}) {
  using B = typename Student::Backend;
  static_assert(Objective<O>,
                "a divergence needs term(log_p, log_q) and pull(log_p, log_q), see "
                "retort/distill/divergences.hpp; or use CrossEntropy, or AnyObjective");
  detail::require_same_backend<Student, Teacher>();
  if (batch.responses.total() == 0) return detail::no_loss<B>(context);
  const Variable<B> hidden = student.hidden(context, batch.prompts, batch.responses);  // (tokens, width)

  const auto compare = [&]<class D>(const D& d) -> HeadLoss<B> {
    const auto weights = [&](double factor) {  // (tokens)
      return row_weights<B>(batch.responses, options.reduction, total, factor);
    };
    if constexpr (std::same_as<D, CrossEntropy>) {
      const auto targets = detail::token_tensor<B>(D::name, batch.responses.tokens, student.vocabulary());
      return head_cross_entropy(context, student.head(), hidden, targets, weights(1),
                                {.chunk_rows = options.chunk_rows});
    } else {
      if (teacher == nullptr)
        fail<ValueError>("objective_loss", "a divergence needs a teacher, none was given");
      check_policy(d);
      Context<B> silent;
      const auto teacher_hidden = teacher->hidden(silent, batch.prompts, batch.responses);
      LogitsObserver<B> look;
      if (observe)
        look = observe(detail::token_tensor<B>(D::name, batch.responses.tokens, student.vocabulary()),
                       student.vocabulary(), teacher->vocabulary());
      return head_divergence(context, d, student.head(), hidden, teacher->head(), teacher_hidden.value(),
                             weights(detail::temperature_factor(options)),
                             {.temperature = options.temperature, .chunk_rows = options.chunk_rows}, look);
    }
  };
  if constexpr (std::same_as<O, AnyObjective>)
    return detail::with_mean(std::visit(compare, objective));
  else
    return detail::with_mean(compare(objective));
}

/// Mean divergence per response token between two models, in nats: an evaluation, nothing is recorded.
template <Divergence D, LanguageModel Student, LanguageModel Teacher>
[[nodiscard]] double mean_divergence(const D& divergence, const Student& student, const Teacher& teacher,
                                     const Batch& batch) {
  Context<typename Student::Backend> silent;
  return objective_loss(divergence, silent, student, &teacher, batch, Normaliser::of(batch.responses)).mean;
}

}  // namespace retort
