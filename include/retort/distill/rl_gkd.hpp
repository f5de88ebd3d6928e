#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "retort/distill/audit.hpp"
#include "retort/distill/objective.hpp"
#include "retort/generate/generate.hpp"

/// Reinforcement learning and on-policy distillation in one objective (GKD, Agarwal et al. 2024,
/// section 3.1), which is maximised:
///   E_{y ~ q} [ (1 - alpha) r(y) - alpha D(p || q)(y | x) ]
/// with r a reward of whole responses and D the mean divergence of a response's tokens. The first part by
/// REINFORCE.
namespace retort {

/// Rewards of a batch's responses, one a response. It may throw; what it throws is a failed step of the run,
/// not its end (see RlRunOptions).
using Reward = std::function<std::vector<double>(const Batch&)>;

/// What is subtracted from a reward; none of them biases the gradient.
enum class Baseline {
  none,
  group_mean,  ///< mean reward of the same prompt's other samples. (The mean that includes the sample itself
               ///< is the same but for a factor 1 - 1/group)
  running_mean,  ///< mean reward of earlier steps, the last ones counting most
};

/// As logs show it.
[[nodiscard]] inline const char* baseline_name(Baseline b) {
  return b == Baseline::none ? "none" : b == Baseline::group_mean ? "group_mean" : "running_mean";
}

/// The objective and how its samples are drawn. The paper recommends ReverseKl or Jsd{0.9}.
template <class D = ReverseKl, class S = Temperature>
struct RlGkd {
  static_assert(Divergence<D>,
                "RlGkd: a divergence needs term(log_p, log_q) and pull(log_p, log_q), see "
                "retort/distill/divergences.hpp");
  static_assert(Sampler<S>,
                "RlGkd: a sampler needs filter(logits, n, scratch), which changes a row in place");
  static constexpr const char* name = "rl_gkd";
  double alpha = 0.5;  ///< share of distillation, in [0, 1]: 1 is on-policy GKD, 0 is RL
  D divergence{};
  S sampler{};  ///< of the student's samples; the gradient of the reward is exact for the unfiltered student
  int group = 4;  ///< samples of a prompt
  Baseline baseline = Baseline::group_mean;
  double decay = 0.9;                           ///< of the running mean, a step, in [0, 1)
  Index max_tokens = 128;                       ///< longest sampled response
  std::int32_t end_token = 1;                   ///< ends a response and is part of it
  std::vector<std::int32_t> more_end_tokens{};  ///< others that do; a model may have several
  Index chunk_rows = 0;                         ///< see HeadLossOptions

  [[nodiscard]] constexpr const char* problem() const {
    if (!(alpha >= 0 && alpha <= 1)) return "alpha, the share of distillation, must lie in [0, 1]";
    if (group < 1) return "a group must have at least 1 sample";
    if (baseline == Baseline::group_mean && group < 2 && alpha < 1)
      return "the mean of a group needs at least 2 samples of a prompt";
    if (!(decay >= 0 && decay < 1)) return "the decay must lie in [0, 1)";
    if (max_tokens < 1) return "max_tokens must be at least 1";
    if constexpr (requires { divergence.problem(); })
      if (const char* p = divergence.problem()) return p;
    if constexpr (requires { sampler.problem(); }) return sampler.problem();
    return nullptr;
  }
  template <class F>
  void each_field(F&& f) const {
    f("alpha", alpha), f("divergence", divergence), f("sampler", sampler), f("group", group);
    f("baseline", baseline_name(baseline)), f("decay", decay), f("max_tokens", max_tokens);
    f("end_token", end_token);
    if (!more_end_tokens.empty()) f("more_end_tokens", more_end_tokens);
  }

  /// How long a sampled response becomes and what ends it. It refers to this setting's end tokens.
  [[nodiscard]] GenerateOptions generation(RandomKey key) const {
    return {.max_tokens = max_tokens, .end_token = end_token, .key = key, .more_end_tokens = more_end_tokens};
  }
};

/// Each prompt `group` times in a row, with an id of its own for each sample: what RlGkd samples from.
[[nodiscard]] inline Batch repeat_prompts(const Batch& prompts, int group) {
  Batch out;
  for (int i = 0; i < prompts.size(); ++i)
    for (int g = 0; g < group; ++g)
      out.push_back(prompts.prompts[i], {},
                    prompts.ids[static_cast<std::size_t>(i)] * static_cast<std::uint64_t>(group) +
                        static_cast<std::uint64_t>(g));
  return out;
}

/// The advantages of responses in groups of `group` neighbours: reward minus baseline, `running_mean` being
/// that of earlier steps.
[[nodiscard]] inline std::vector<double> group_advantages(Baseline baseline, int group,
                                                          const std::vector<double>& rewards,
                                                          double running_mean) {
  std::vector<double> out(rewards);
  if (baseline == Baseline::running_mean)
    for (double& a : out) a -= running_mean;
  if (baseline != Baseline::group_mean || group < 2) return out;
  const auto size = static_cast<std::size_t>(group);
  for (std::size_t first = 0; first < rewards.size(); first += size) {
    double sum = 0;
    for (std::size_t i = first; i < first + size; ++i) sum += rewards[i];
    for (std::size_t i = first; i < first + size; ++i)
      out[i] = rewards[i] - (sum - rewards[i]) / static_cast<double>(group - 1);
  }
  return out;
}

/// A part of an RlGkd step's loss, the negative of the objective, with its shares.
template <Backend B>
struct RlGkdLoss {
  Variable<B> value;      ///< the scalar to propagate
  double policy = 0;      ///< share of the policy gradient
  double divergence = 0;  ///< share of the divergence
  Index tokens = 0;
};

/// The loss of `part`, sampled responses of a step: (1/B) sum_b [ alpha mean_t D_t - (1 - alpha) A_b sum_t
/// log q(y_t)
/// ]. `advantage` has one number a response of the part, `total` counts the whole step. The teacher may be
/// nullptr if alpha is 0. `audit` may be nullptr.
template <class D, class S, LanguageModel Student, LanguageModel Teacher>
[[nodiscard]] RlGkdLoss<typename Student::Backend> rl_gkd_loss(
    const RlGkd<D, S>& how, Context<typename Student::Backend>& context, const Student& student,
    const Teacher* teacher, const Batch& part, std::span<const double> advantage, const Normaliser& total,
    AuditSums* audit = nullptr) {
  using B = typename Student::Backend;
  detail::require_same_backend<Student, Teacher>();
  const Sequences& responses = part.responses;
  const auto count = static_cast<std::size_t>(responses.total());
  if (std::ssize(advantage) != responses.size())
    fail<ShapeError>("rl_gkd", "{} advantages for {} responses", advantage.size(), responses.size());
  if (count == 0) return {detail::no_loss<B>(context).value};
  // Row weights are 1 / (B L_b): a token's slope is multiplied by L_b, for the sum over the response.
  std::vector<double> slopes;
  for (int b = 0; b < responses.size(); ++b)
    slopes.insert(slopes.end(), static_cast<std::size_t>(responses.length(b)),
                  -(1 - how.alpha) * advantage[static_cast<std::size_t>(b)] * responses.length(b));
  const auto weights = row_weights<B>(responses, Reduction::per_sequence, total);  // (tokens)
  const Variable<B> hidden = student.hidden(context, part.prompts, responses);
  TensorOf<B> teacher_hidden;
  Head<B> teacher_head;
  if (teacher != nullptr) {
    Context<B> silent;
    teacher_hidden = teacher->hidden(silent, part.prompts, responses).value();
    teacher_head = teacher->head();
  }
  const auto tokens = detail::token_tensor<B>("rl_gkd", responses.tokens, student.vocabulary());
  const auto loss =
      head_policy_loss(context, how.divergence, student.head(), hidden,
                       teacher != nullptr ? &teacher_head : nullptr, teacher_hidden, weights,
                       {.tokens = tokens,
                        .term =
                            [&](Index row, double log_q) {
                              const double slope = slopes[static_cast<std::size_t>(row)];
                              return TokenTerm{slope * log_q, slope};
                            },
                        .divergence_weights = StatisticTensor<B>::full(
                            {static_cast<Index>(count)}, static_cast<StatisticOf<B>>(how.alpha))},
                       {.chunk_rows = how.chunk_rows},
                       audit != nullptr && teacher != nullptr
                           ? audit->observer<B>(tokens, student.vocabulary(), teacher->vocabulary())
                           : LogitsObserver<B>{});
  RlGkdLoss<B> out{loss.value, 0, 0, static_cast<Index>(count)};
  const auto w = weights.to_host();
  for (std::size_t t = 0; t < count; ++t) {
    out.policy += static_cast<double>(w[t]) * loss.term[t];
    out.divergence += static_cast<double>(w[t]) * how.alpha * loss.divergence[t];
  }
  if (audit != nullptr) audit->add_weights(std::vector<double>(count, 1), 0);
  return out;
}

}  // namespace retort
