#pragma once

#include <fmt/format.h>

#include <concepts>
#include <string>
#include <variant>

#include "retort/core/error.hpp"

/// Where the responses of a training step come from. GKD's algorithm 1 draws u ~ U(0, 1) once a step, for the
/// whole batch.
namespace retort {

/// Who wrote the responses that a step trains on.
enum class Source { data, student, teacher };

/// As logs show it.
[[nodiscard]] inline const char* source_name(Source s) {
  return s == Source::data ? "data" : s == Source::student ? "student" : "teacher";
}

/// A policy that picks the source of a step from a uniform number.
template <class O>
concept OutputSource = requires(const O o, double u) {
  { o.choose(u) } -> std::same_as<Source>;
};

/// Whether every step learns from the data's responses: nobody is sampled from.
template <OutputSource O>
[[nodiscard]] bool always_data(const O& outputs) {
  return outputs.choose(0.0) == Source::data && outputs.choose(1.0) == Source::data;
}

/// The data set's responses: supervised training.
struct FromData {
  static constexpr const char* name = "data";
  [[nodiscard]] Source choose(double) const { return Source::data; }
  template <class F>
  void each_field(F&&) const {}
};

/// The student's own samples: purely on-policy.
struct FromStudent {
  static constexpr const char* name = "student";
  [[nodiscard]] Source choose(double) const { return Source::student; }
  template <class F>
  void each_field(F&&) const {}
};

/// The teacher's samples: sequence-level distillation (Kim & Rush 2016).
struct FromTeacher {
  static constexpr const char* name = "teacher";
  [[nodiscard]] Source choose(double) const { return Source::teacher; }
  template <class F>
  void each_field(F&&) const {}
};

/// The student's samples with probability lambda, else the data set's responses (GKD, algorithm 1; ImitKD
/// with 1/2).
struct Mixed {
  static constexpr const char* name = "mixed";
  double lambda = 0.5;  ///< the student's share of the steps, in [0, 1]

  [[nodiscard]] Source choose(double u) const {
    return lambda > 0 && u <= lambda ? Source::student : Source::data;
  }
  [[nodiscard]] constexpr const char* problem() const {
    return lambda >= 0 && lambda <= 1 ? nullptr : "lambda must lie in [0, 1]";
  }
  template <class F>
  void each_field(F&& f) const {
    f("lambda", lambda);
  }
};

/// The student's samples with probability `student`, else the teacher's (f-distill, Wen et al. 2023: half
/// each).
struct StudentOrTeacher {
  static constexpr const char* name = "student_or_teacher";
  double student = 0.5;  ///< the student's share of the steps, in [0, 1]

  [[nodiscard]] Source choose(double u) const {
    return student > 0 && u <= student ? Source::student : Source::teacher;
  }
  [[nodiscard]] constexpr const char* problem() const {
    return student >= 0 && student <= 1 ? nullptr : "the student's share must lie in [0, 1]";
  }
  template <class F>
  void each_field(F&& f) const {
    f("student", student);
  }
};

/// The shipped sources, for programs that choose at run time.
class AnyOutputs : public std::variant<FromData, FromStudent, FromTeacher, Mixed, StudentOrTeacher> {
 public:
  static constexpr const char* name = "outputs";
  using variant::variant;
  [[nodiscard]] Source choose(double u) const {
    return std::visit([u](const auto& o) { return o.choose(u); }, static_cast<const variant&>(*this));
  }
  [[nodiscard]] const char* problem() const {
    const auto of = [](const auto& o) -> const char* {
      if constexpr (requires { o.problem(); }) return o.problem();
      return nullptr;
    };
    return std::visit(of, static_cast<const variant&>(*this));
  }
};

}  // namespace retort
