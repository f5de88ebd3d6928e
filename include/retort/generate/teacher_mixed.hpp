#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "retort/generate/generate.hpp"

/// Teacher-mixed sampling (MiniLLM, Gu et al. 2024, section 2.2): responses come from the mixture of the
/// teacher's and the student's next-token distributions, which keeps a weak student from exploiting its own
/// degenerate outputs, and importance weights account for the difference.
namespace retort {

/// How a mixed response is drawn: from ptilde = alpha p + (1 - alpha) q, p the teacher's and q the student's
/// softmax at temperature 1, then through the filters of `sampler` as any row of logits. alpha = 0 samples
/// from the student, alpha = 1 from the teacher.
template <Sampler S = Temperature>
struct TeacherMixed {
  static constexpr const char* name = "teacher_mixed";
  double alpha = 0.2;  ///< the teacher's share, in [0, 1]; the paper's 0.2
  S sampler{};         ///< filters of the mixture's row

  [[nodiscard]] constexpr const char* problem() const {
    if (!(alpha >= 0 && alpha <= 1)) return "alpha, the teacher's share, must lie in [0, 1]";
    if constexpr (requires { sampler.problem(); }) return sampler.problem();
    return nullptr;
  }
  template <class F>
  void each_field(F&& f) const {
    f("alpha", alpha), f("sampler", sampler);
  }
};

/// A token drawn from a mixture, with its log-probability under everyone.
struct MixedToken {
  std::int32_t token = 0;
  double log_student = 0;  ///< log q: softmax of the student's unfiltered logits at temperature 1
  double log_teacher = 0;  ///< log p, likewise; -inf for a token that only the student's vocabulary has
  double log_draw = 0;     ///< under the distribution it was drawn from, filters included (0 for Greedy)
};

/// Mixed samples; per token in the order of `responses.tokens`.
struct MixedSamples {
  Sequences responses;
  std::vector<double> log_student, log_teacher, log_draw;
  std::vector<bool> finished;  ///< per response: ended by an end token
};

namespace detail {

/// The row of logits to draw from: log of the mixture, over the vocabulary that both models have. Student's
/// alone for alpha = 0 and teacher's for alpha = 1, to the bit.
template <class T>
void mix_rows(double alpha, const T* student, const T* teacher, Index n, T* mixed) {
  using P = kernels::cpu::Pack<T>;
  namespace cpu = kernels::cpu;
  if (alpha == 0 || alpha == 1) {
    std::copy_n(alpha == 0 ? student : teacher, n, mixed);
    return;
  }
  const auto log_q = cpu::log_normaliser(student, n), log_p = cpu::log_normaliser(teacher, n);
  const P a(static_cast<T>(alpha)), b(static_cast<T>(1 - alpha));
  cpu::for_packs<T>(n, [&](Index i, Index c) {
    cpu::store(log(a * exp(log_p(cpu::load(teacher + i, c))) + b * exp(log_q(cpu::load(student + i, c)))),
               mixed + i, c);
  });
}

/// Next-token rows of a mixture: both models step with their own cache. See `decode`.
template <LanguageModel Student, LanguageModel Teacher, Sampler S>
class MixedRows {
 public:
  using Backend = typename Student::Backend;
  using T = StatisticOf<Backend>;
  using Drawn = MixedToken;

  MixedRows(const Student& student, const Teacher& teacher, const TeacherMixed<S>& how,
            const Sequences& prompts, Index room)
      : student_(student),
        teacher_(teacher),
        how_(how),
        student_state_(start_shared(student, prompts, room)),
        teacher_state_(start_shared(teacher, prompts, room)),
        student_logits_({prompts.size(), logits_stride<Backend>(student.vocabulary())}),
        teacher_logits_({prompts.size(), logits_stride<Backend>(teacher.vocabulary())}) {}

  [[nodiscard]] Index vocabulary() const { return student_.vocabulary(); }
  void compute(Index live) {
    if (!computed_) project_both(live);
    computed_ = false;
  }
  /// Draws of all live rows where the device can: false if it cannot, and the logits are on the host then.
  [[nodiscard]] bool draw_all(std::span<const double> u, std::vector<MixedToken>& drawn) {
    if constexpr (!std::same_as<typename Backend::Device, CpuDevice> && DescribedSampler<S>) {
      SamplerSteps steps;
      if (how_.sampler.add_to(steps)) {
        draw_on_device(steps, u, drawn);
        return true;
      }
    }
    student_rows_.take(student_logits_, std::ssize(u));
    teacher_rows_.take(teacher_logits_, std::ssize(u));
    return false;
  }
  [[nodiscard]] MixedToken draw(Index row, double u, std::vector<Index>& scratch) const {
    const Index vs = student_.vocabulary(), vt = teacher_.vocabulary(), common = std::min(vs, vt);
    const T *student = student_rows_.row(row), *teacher = teacher_rows_.row(row);
    std::vector<T> mixed(static_cast<std::size_t>(common));
    mix_rows(how_.alpha, student, teacher, common, mixed.data());
    const DrawnToken drawn = draw_token(how_.sampler, mixed.data(), common, u, scratch);
    const auto log_q = kernels::cpu::log_normaliser(student, vs),
               log_p = kernels::cpu::log_normaliser(teacher, vt);
    return {drawn.token, static_cast<double>(log_q(student[drawn.token])),
            static_cast<double>(log_p(teacher[drawn.token])), drawn.log_draw};
  }
  void select(const std::vector<std::int32_t>& rows) {
    student_state_.select(rows);
    teacher_state_.select(rows);
  }
  void advance(const std::vector<std::int32_t>& tokens) {
    decode_step<Student, Teacher>(std::ssize(tokens), [&] {
      student_.advance(student_state_, tokens);
      teacher_.advance(teacher_state_, tokens);
      project_both(std::ssize(tokens));
    });
    computed_ = true;
  }

 private:
  void project_both(Index live) {
    project(student_.head(), live, std::as_const(student_state_.hidden).data(), student_logits_.data());
    project(teacher_.head(), live, std::as_const(teacher_state_.hidden).data(), teacher_logits_.data());
  }

  void draw_on_device(const SamplerSteps& steps, std::span<const double> u, std::vector<MixedToken>& drawn) {
    using B = Backend;
    const typename B::Device device{};
    const Index vs = student_.vocabulary(), vt = teacher_.vocabulary(), n = std::min(vs, vt);
    const auto live = static_cast<Index>(u.size());
    StatisticTensor<B> mixed({live, n});
    kernels::mix_rows(device, how_.alpha, live, n, std::as_const(student_logits_).data(),
                      student_logits_.last(), std::as_const(teacher_logits_).data(), teacher_logits_.last(),
                      mixed.data());
    std::vector<DrawnToken> tokens(u.size());
    kernels::draw_tokens(device, steps, live, n, mixed.data(), u.data(), tokens.data());
    std::vector<std::int32_t> ids;
    for (const DrawnToken& d : tokens) {
      require_drawn(d);
      ids.push_back(d.token);
    }
    const auto index = IndexTensor<B>::from({live}, ids);
    StatisticTensor<B> logs({2, live});
    kernels::token_log_probabilities(device, live, vs, std::as_const(student_logits_).data(), index.data(),
                                     1.0, logs.data(), student_logits_.last());
    kernels::token_log_probabilities(device, live, vt, std::as_const(teacher_logits_).data(), index.data(),
                                     1.0, logs.data() + live, teacher_logits_.last());
    const auto log = logs.to_host();
    for (std::size_t i = 0; i < tokens.size(); ++i)
      drawn[i] = {tokens[i].token, static_cast<double>(log[i]), static_cast<double>(log[tokens.size() + i]),
                  tokens[i].log_draw};
  }

  const Student& student_;
  const Teacher& teacher_;
  const TeacherMixed<S>& how_;
  DecodeState<Backend> student_state_, teacher_state_;
  TensorOf<Backend> student_logits_, teacher_logits_;  // (prompts, vocabulary), of the live sequences
  HostRows<Backend> student_rows_, teacher_rows_;
  bool computed_ = false;  // the logits are those of the states
};

}  // namespace detail

/// Samples a response to every prompt from the mixture of both models; otherwise as `generate`, and with its
/// samples if alpha is 0 and the vocabularies are equally large. Prompts are read by both. Throws ValueError
/// for a value out of range, NumericError when logits are not numbers.
template <LanguageModel Student, LanguageModel Teacher, Sampler S>
[[nodiscard]] MixedSamples generate_mixed(const Student& student, const Teacher& teacher,
                                          const Sequences& prompts, std::span<const std::uint64_t> ids,
                                          const TeacherMixed<S>& how, const GenerateOptions& options) {
  static_assert(std::same_as<typename Student::Backend, typename Teacher::Backend>,
                "the teacher must have the student's backend: the same device and the same number type");
  detail::require_generation(prompts, ids, options);
  check_policy(how);
  const auto make = [&] {
    return detail::MixedRows<Student, Teacher, S>(student, teacher, how, prompts, options.max_tokens);
  };
  auto decoded = detail::decode(ids, options, make, [](std::size_t, const MixedToken&) {});
  MixedSamples out{detail::tokens_of(decoded), {}, {}, {}, std::move(decoded.finished)};
  for (const auto& sequence : decoded.drawn)
    for (const MixedToken& d : sequence) {
      out.log_student.push_back(d.log_student);
      out.log_teacher.push_back(d.log_teacher);
      out.log_draw.push_back(d.log_draw);
    }
  return out;
}

}  // namespace retort
