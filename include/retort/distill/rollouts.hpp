#pragma once

#include <span>
#include <utility>
#include <vector>

#include "retort/generate/teacher_mixed.hpp"

/// Samples to learn from, with what was true when they were drawn.
namespace retort {

/// A store of sampled responses. Numbers of tokens are in the order of `samples.responses.tokens`.
struct Rollouts {
  Batch samples;                    ///< prompts and sampled responses
  std::vector<double> log_student;  ///< log q_old(y_t), temperature 1
  std::vector<double> log_teacher;  ///< log p(y_t), temperature 1; -inf where the teacher cannot
  std::vector<double> log_draw;     ///< log ptilde(y_t): of the distribution that drew the token

  /// Number of responses.
  [[nodiscard]] int size() const { return samples.size(); }

  /// log(q_old / ptilde) of each token.
  [[nodiscard]] std::vector<double> log_ratio() const {
    std::vector<double> out(log_student.size());
    for (std::size_t t = 0; t < out.size(); ++t) out[t] = log_student[t] - log_draw[t];
    return out;
  }
  /// log p - log q_old of each token: the reward of MiniLLM.
  [[nodiscard]] std::vector<double> rewards() const {
    std::vector<double> out(log_student.size());
    for (std::size_t t = 0; t < out.size(); ++t) out[t] = log_teacher[t] - log_student[t];
    return out;
  }

  /// The responses `rows`, in that order.
  [[nodiscard]] Rollouts select(std::span<const int> rows) const {
    Rollouts out{samples.select(rows), {}, {}, {}};
    for (const int row : rows) {
      const auto first = samples.responses.offsets[static_cast<std::size_t>(row)];
      const auto last = samples.responses.offsets[static_cast<std::size_t>(row) + 1];
      const auto copy = [&](const std::vector<double>& from, std::vector<double>& to) {
        to.insert(to.end(), from.begin() + first, from.begin() + last);
      };
      copy(log_student, out.log_student), copy(log_teacher, out.log_teacher), copy(log_draw, out.log_draw);
    }
    return out;
  }

  /// Appends the responses of `more`.
  void append(const Rollouts& more) {
    for (int i = 0; i < more.size(); ++i)
      samples.push_back(more.samples.prompts[i], more.samples.responses[i],
                        more.samples.ids[static_cast<std::size_t>(i)]);
    const auto join = [](std::vector<double>& to, const std::vector<double>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    join(log_student, more.log_student), join(log_teacher, more.log_teacher), join(log_draw, more.log_draw);
  }

  friend bool operator==(const Rollouts&, const Rollouts&) = default;
};

/// Samples a response to each of `prompts` (its responses are not looked at) and notes the probabilities.
/// With how.alpha 0 the teacher does not step: it reads the finished responses once. Throws as
/// `generate_mixed` does.
template <LanguageModel Student, LanguageModel Teacher, Sampler S>
[[nodiscard]] Rollouts roll_out(const Student& student, const Teacher& teacher, const Batch& prompts,
                                const TeacherMixed<S>& how, const GenerateOptions& options) {
  check_policy(how);
  Rollouts out{{prompts.prompts, {}, prompts.ids}, {}, {}, {}};
  if (how.alpha > 0) {
    MixedSamples mixed = generate_mixed(student, teacher, prompts.prompts, prompts.ids, how, options);
    out.samples.responses = std::move(mixed.responses);
    out.log_student = std::move(mixed.log_student);
    out.log_teacher = std::move(mixed.log_teacher);
    out.log_draw = std::move(mixed.log_draw);
  } else {
    Generated own = generate(student, prompts.prompts, prompts.ids, how.sampler, options);
    out.samples.responses = std::move(own.responses);
    out.log_student = std::move(own.log_probabilities);
    out.log_draw = std::move(own.log_draws);
    const auto log_p = response_log_probabilities(teacher, out.samples.prompts, out.samples.responses);
    out.log_teacher.assign(log_p.begin(), log_p.end());
  }
  return out;
}

}  // namespace retort
