#pragma once

#include <nlohmann/json.hpp>
#include <utility>

#include "retort/data/batches.hpp"
#include "retort/distill/adaptive_fraction.hpp"
#include "retort/generate/room.hpp"
#include "retort/io/batch_tensors.hpp"
#include "retort/training/run_loop.hpp"
#include "retort/training/step.hpp"

namespace retort {

namespace detail {

/// DistiLLM's adaptive off-policy learning as a TrainingMethod, for any objective.
template <class O, class S, class Student, class Teacher, class Policy>
class AdaptiveMethod {
 public:
  using Recipe = Gkd<O, FromData, S>;

  AdaptiveMethod(const Recipe& recipe, const AdaptiveFraction& how, Student& student, const Teacher& teacher,
                 Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& data,
                 const Batch& validation, Index validate_every, const RunOptions& options)
      : recipe_(recipe),
        how_(how),
        student_(student),
        teacher_(teacher),
        optimizer_(optimizer),
        validation_(validation),
        validate_every_(validate_every),
        steps_(options.steps),
        seed_(options.seed),
        batches_(data, {.seed = options.seed, .batch_size = options.batch_size}) {
    if (validate_every < 1)
      fail<ValueError>("adaptive", "validate_every is {}, must be at least 1", validate_every);
    if (validation.responses.total() == 0)
      fail<ValueError>("adaptive", "the validation data have no response");
  }

  nlohmann::json step(const RunStep& at) {
    nlohmann::json metrics;
    if (at.step % validate_every_ == 0) {
      Context<typename Student::Backend> silent;
      const double loss = objective_loss(CrossEntropy{}, silent, student_, &teacher_, validation_,
                                         Normaliser::of(validation_.responses))
                              .mean;
      state_.validated(how_, loss);
      metrics["validation_loss"] = loss;
    }
    Batch batch = batches_.at(at.step);
    const AdaptiveSource source =
        state_.choose(at.key.fork(0).uniform(0), static_cast<double>(at.step) / static_cast<double>(steps_),
                      buffer_.size() >= how_.capacity);
    if (source == AdaptiveSource::fresh) {
      batch.responses =
          generate(student_, batch.prompts, batch.ids, recipe_.sampler, recipe_.generation(at.key.fork(1)))
              .responses;
      keep(batch);
    } else if (source == AdaptiveSource::buffer) {
      auto rows = epoch_order(seed_ + 3, static_cast<std::uint64_t>(at.step), buffer_.size());
      rows.resize(static_cast<std::size_t>(std::min(batch.size(), buffer_.size())));
      batch = buffer_.select(rows);
    }
    const StepReport report =
        training_step(recipe_, student_, &teacher_, optimizer_, batch, at.key, at.options);
    metrics.update({{"loss", report.loss},
                    {"mean", report.mean},
                    {"tokens", report.tokens},
                    {"gradient_norm", report.gradient_norm},
                    {"source", adaptive_source_name(source)},
                    {"share", state_.share},
                    {"buffer", buffer_.size()}});
    return metrics;
  }

  void save(SafetensorsWriter& writer) const {
    save_batch(writer, "method/buffer", buffer_);
    writer.add("method/share", Shape{3},
               std::vector<double>{state_.share, state_.reference.value_or(0), state_.reference ? 1.0 : 0.0});
  }
  void restore(const SafetensorsFile& file) {
    buffer_ = load_batch(file, "method/buffer");
    const auto share = file.template read<double>("method/share");
    if (share.size() != 3)
      fail<FileError>("load", "'{}': method/share has {} numbers, expected 3", file.path().string(),
                      share.size());
    state_ = {share[0], share[2] != 0 ? std::optional(share[1]) : std::nullopt};
  }

 private:
  const Recipe& recipe_;
  const AdaptiveFraction& how_;
  Student& student_;
  const Teacher& teacher_;
  Optimizer<Policy, typename Student::Backend>& optimizer_;
  const Batch& validation_;
  Index validate_every_, steps_;
  std::uint64_t seed_;
  Batches batches_;
  AdaptiveState state_;
  Batch buffer_;

  void keep(const Batch& more) {
    for (int i = 0; i < more.size(); ++i)
      buffer_.push_back(more.prompts[i], more.responses[i], more.ids[static_cast<std::size_t>(i)]);
    if (buffer_.size() > how_.capacity)
      buffer_ = buffer_.slice(buffer_.size() - how_.capacity, buffer_.size());
  }
};

}  // namespace detail

/// Trains `student` by DistiLLM's schedule: the data's responses, more and more of the student's as its
/// validation loss rises, and old ones of a buffer in place of fresh ones towards the end. The recipe's
/// objective is any; DistiLLM's own are SkewForwardKl and SkewReverseKl. `validation` is looked at every
/// `validate_every` steps. Share and buffer are part of the checkpoint. Otherwise as `run_training`.
template <class O, class S, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_adaptive(RunFolder& folder, const Gkd<O, FromData, S>& recipe, const AdaptiveFraction& how,
                       Student& student, const Teacher& teacher,
                       Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& data,
                       const Batch& validation, Index validate_every, const RunOptions& options,
                       const nlohmann::json& config = nlohmann::json::object(),
                       const std::function<nlohmann::json()>& evaluate = {}) {
  check_policy(how);
  require_room("adaptive", "student", student, data, recipe.max_tokens);
  require_room("adaptive", "teacher", teacher, data, recipe.max_tokens);
  detail::AdaptiveMethod<O, S, Student, Teacher, Policy> method(recipe, how, student, teacher, optimizer,
                                                                data, validation, validate_every, options);
  nlohmann::json description = to_json(recipe);
  description["adaptive"] = to_json(how);
  description["validate_every"] = validate_every;
  nlohmann::json inputs = detail::inputs_of_run(data, &teacher);
  inputs["validation"] = digest(validation);
  return run_loop(folder, method, parameters(student), optimizer, options, description, inputs, config,
                  evaluate);
}

}  // namespace retort
