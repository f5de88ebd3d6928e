#pragma once

#include <limits>

#include "retort/training/step.hpp"
#include "tiny_models.hpp"

namespace retort::test {

/// An optimizer that leaves the weights alone and keeps the gradients that it was to use.
struct Recorder {
  static constexpr const char* name = "recorder";
  std::vector<double>* gradient = nullptr;

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape&) const { return {}; }
  template <Backend B>
  void update(Parameter<B>& parameter, std::span<TensorOf<B>>, const UpdateStep& step) const {
    for (const auto g : parameter.grad.to_host())
      gradient->push_back(static_cast<double>(g) * step.gradient_scale);
  }
  template <class F>
  void each_field(F&&) const {}
};

/// What a training step computes, without its update.
struct Outcome {
  StepReport report;
  std::vector<double> gradient;
};

template <class Recipe, class Student>
Outcome step_without_update(const Recipe& recipe, Student& student, const Student& teacher,
                            const Batch& batch, int micro_batch = 0, RandomKey key = {8, 9}) {
  Outcome out;
  Optimizer<Recorder, typename Student::Backend> recorder({&out.gradient}, parameters(student));
  out.report =
      training_step(recipe, student, &teacher, recorder, batch, key,
                    {.clip_norm = std::numeric_limits<double>::infinity(), .micro_batch = micro_batch});
  return out;
}

}  // namespace retort::test
