#pragma once

#include <cstdint>
#include <vector>

#include "retort/core/policy.hpp"
#include "retort/distill/objective.hpp"
#include "retort/distill/outputs.hpp"
#include "retort/generate/generate.hpp"

/// Generalised knowledge distillation (Agarwal et al. 2024, algorithm 1) and the recipes that are special
/// cases of it.
namespace retort {

namespace detail {

/// What is wrong with a part of a recipe, nullptr if nothing is or it cannot say.
template <class Part>
[[nodiscard]] constexpr const char* problem_of(const Part& part) {
  if constexpr (std::same_as<Part, AnyObjective>)
    return std::visit([](const auto& chosen) { return problem_of(chosen); }, part);
  else if constexpr (requires { part.problem(); })
    return part.problem();
  else
    return nullptr;
}

}  // namespace detail

/// One recipe: what is minimised, on whose outputs, sampled how. The defaults are GKD with JSD(0.5) and
/// lambda 1/2.
template <class O = Jsd, class Outputs = Mixed, class S = Temperature>
struct Gkd {
  static_assert(Objective<O>,
                "Gkd: a divergence needs term(log_p, log_q) and pull(log_p, log_q), see "
                "retort/distill/divergences.hpp; or use CrossEntropy, or AnyObjective");
  static_assert(OutputSource<Outputs>, "Gkd: outputs need choose(u), which returns a Source");
  static_assert(Sampler<S>, "Gkd: a sampler needs filter(logits, n, scratch), which changes a row in place");

  static constexpr const char* name = "gkd";
  O divergence{};              ///< what is minimised: a divergence, CrossEntropy or AnyObjective
  Outputs outputs{};           ///< whose responses
  S sampler{};                 ///< of the student's (and the teacher's) samples; the paper: temperature 1
  Index max_tokens = 128;      ///< longest sampled response
  std::int32_t end_token = 1;  ///< ends a response and is part of it
  std::vector<std::int32_t> more_end_tokens{};  ///< others that do; a model may have several
  ObjectiveOptions options{};

  [[nodiscard]] constexpr const char* problem() const {
    for (const char* p : {detail::problem_of(divergence), detail::problem_of(outputs),
                          detail::problem_of(sampler), options.problem()})
      if (p != nullptr) return p;
    return max_tokens >= 0 ? nullptr : "max_tokens must not be negative";
  }
  template <class F>
  void each_field(F&& f) const {
    f("objective", divergence), f("outputs", outputs), f("sampler", sampler);
    f("max_tokens", max_tokens), f("end_token", end_token), f("options", options);
    if (!more_end_tokens.empty()) f("more_end_tokens", more_end_tokens);
  }

  /// How long a sampled response becomes and what ends it. It refers to this recipe's end tokens.
  [[nodiscard]] GenerateOptions generation(RandomKey key) const {
    return {.max_tokens = max_tokens, .end_token = end_token, .key = key, .more_end_tokens = more_end_tokens};
  }

  /// The batch that a step trains on: `batch` itself, or its prompts with fresh samples. `key` belongs to the
  /// step. No gradient flows through sampling. Throws ValueError for a policy's value outside its range, and
  /// if the teacher's outputs are wanted and there is no teacher.
  template <LanguageModel Student, LanguageModel Teacher>
  [[nodiscard]] Batch responses(RandomKey key, const Student& student, const Teacher* teacher,
                                const Batch& batch, Source* chosen = nullptr) const {
    detail::require_same_backend<Student, Teacher>();
    check_policy(outputs);
    const Source source = outputs.choose(key.fork(0).uniform(0));
    if (chosen != nullptr) *chosen = source;
    const GenerateOptions how = generation(key.fork(1));
    Batch result = batch;
    if (source == Source::student)
      result.responses = generate(student, batch.prompts, batch.ids, sampler, how).responses;
    if (source == Source::teacher) {
      if (teacher == nullptr)
        fail<ValueError>("gkd", "the teacher's outputs were asked for, but there is no teacher");
      result.responses = generate(*teacher, batch.prompts, batch.ids, sampler, how).responses;
    }
    return result;
  }

  /// The whole step in one call: choose the outputs, then the loss on them. `context.key` belongs to the
  /// step.
  template <LanguageModel Student, LanguageModel Teacher>
  [[nodiscard]] Loss<typename Student::Backend> loss(Context<typename Student::Backend>& context,
                                                     const Student& student, const Teacher& teacher,
                                                     const Batch& batch) const {
    const Batch on = responses(context.next_key(), student, &teacher, batch);
    return objective_loss(divergence, context, student, &teacher, on, Normaliser::of(on.responses), options);
  }
};

/// The named recipes (compare with the table in docs/architecture.md).
namespace recipes {

/// Supervised fine-tuning: cross-entropy of the data.
[[nodiscard]] inline auto sft() {
  return Gkd<CrossEntropy, FromData>{};
}
/// Sequence-level distillation (Kim & Rush 2016): cross-entropy of the teacher's outputs.
[[nodiscard]] inline auto seq_kd() {
  return Gkd<CrossEntropy, FromTeacher>{};
}
/// Supervised (word-level) distillation: forward KL on the data.
[[nodiscard]] inline auto supervised_kd() {
  return Gkd<ForwardKl, FromData>{};
}
/// ImitKD (Lin et al. 2020): forward KL on student's outputs and data, half each.
[[nodiscard]] inline auto imit_kd() {
  return Gkd<ForwardKl, Mixed>{.outputs = {.lambda = 0.5}};
}
/// f-distill (Wen et al. 2023): total variation on the student's and the teacher's outputs, half each.
[[nodiscard]] inline auto f_distill() {
  return Gkd<TotalVariation, StudentOrTeacher>{.outputs = {.student = 0.5}};
}
/// On-policy distillation: forward KL on the student's outputs.
[[nodiscard]] inline auto on_policy_kd() {
  return Gkd<ForwardKl, FromStudent>{};
}
/// GKD: any divergence, any lambda.
template <Divergence D>
[[nodiscard]] auto gkd(const D& divergence, double lambda) {
  return Gkd<D, Mixed>{.divergence = divergence, .outputs = {.lambda = lambda}};
}

}  // namespace recipes

}  // namespace retort
