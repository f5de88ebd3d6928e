#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "retort/data/batches.hpp"
#include "retort/eval/repetition.hpp"
#include "retort/io/batch_tensors.hpp"
#include "retort/training/minillm_step.hpp"
#include "retort/training/run_loop.hpp"

namespace retort {

/// Sizes of MiniLLM's phases: sample `rollouts` responses, then `inner_epochs` passes over them in updates of
/// RunOptions::batch_size. A step of the run is an update.
struct MiniLlmPhases {
  static constexpr const char* name = "phases";
  int rollouts = 256;       ///< responses sampled at a time; a multiple of the batch size
  int inner_epochs = 4;     ///< passes over them
  int sampling_batch = 64;  ///< responses that are decoded together; changes memory and speed alone

  [[nodiscard]] constexpr const char* problem() const {
    if (rollouts < 1) return "rollouts must be at least 1";
    if (inner_epochs < 1) return "inner_epochs must be at least 1";
    return sampling_batch >= 1 ? nullptr : "sampling_batch must be at least 1";
  }
  template <class F>
  void each_field(F&& f) const {
    f("rollouts", rollouts), f("inner_epochs", inner_epochs);
  }
};

namespace detail {

/// The tensors of a rollout store in a checkpoint.
inline void save_rollouts(SafetensorsWriter& writer, const Rollouts& rollouts) {
  save_batch(writer, "method/rollouts", rollouts.samples);
  const auto numbers = [&](const char* name, const std::vector<double>& values) {
    writer.add(std::string("method/rollouts.") + name, Shape{std::ssize(values)}, values);
  };
  numbers("log_student", rollouts.log_student), numbers("log_teacher", rollouts.log_teacher);
  numbers("log_draw", rollouts.log_draw);
}

/// Reads them back; FileError if they do not fit together.
[[nodiscard]] inline Rollouts load_rollouts(const SafetensorsFile& file) {
  Rollouts out{load_batch(file, "method/rollouts"), file.read<double>("method/rollouts.log_student"),
               file.read<double>("method/rollouts.log_teacher"),
               file.read<double>("method/rollouts.log_draw")};
  const auto tokens = static_cast<std::size_t>(out.samples.responses.total());
  if (out.log_student.size() != tokens || out.log_teacher.size() != tokens || out.log_draw.size() != tokens)
    fail<FileError>("load", "'{}': the rollouts have {} tokens and {}, {} and {} probabilities",
                    file.path().string(), tokens, out.log_student.size(), out.log_teacher.size(),
                    out.log_draw.size());
  return out;
}

/// MiniLLM as a TrainingMethod: phases of sampling and of updates.
template <class S, class Student, class Teacher, class Policy>
class MiniLlmMethod {
 public:
  MiniLlmMethod(const MiniLlm<S>& how, const MiniLlmPhases& phases, Student& student, const Teacher& teacher,
                Optimizer<Policy, typename Student::Backend>& optimizer, const Batch& prompts,
                const Batch* corpus, const RunOptions& options)
      : how_(how),
        phases_(checked(how, phases, options)),
        student_(student),
        teacher_(teacher),
        optimizer_(optimizer),
        prompts_(prompts, {.seed = options.seed, .batch_size = phases.rollouts}),
        seed_(options.seed),
        batch_size_(options.batch_size) {
    if (corpus != nullptr && !corpus->empty() && how.corpus != CorpusLoss::none)
      corpus_.emplace(*corpus, BatchCursor{.seed = options.seed + 1, .batch_size = options.batch_size});
  }

  nlohmann::json step(const RunStep& at) {
    const Index batches = phases_.rollouts / batch_size_, updates = batches * phases_.inner_epochs;
    const Index phase = at.step / updates, update = at.step % updates, epoch = update / batches;
    double sampling_seconds = 0;
    if (update == 0) {
      const double began = steady_seconds();
      roll_out_phase(phase);
      sampling_seconds = steady_seconds() - began;
    }
    const auto order = epoch_order(
        seed_ + 2, static_cast<std::uint64_t>(phase * phases_.inner_epochs + epoch), phases_.rollouts);
    const auto first = order.begin() + update % batches * batch_size_;
    const Rollouts batch = rollouts_.select(std::vector<int>(first, first + batch_size_));
    std::optional<Batch> corpus;
    if (corpus_) corpus = corpus_->at(at.step);
    const MiniLlmReport report = minillm_step(how_, student_, teacher_, optimizer_, batch,
                                              corpus ? &*corpus : nullptr, at.key, at.options);
    nlohmann::json metrics{
        {"loss", report.loss},
        {"mean", report.audit.reverse_kl},
        {"policy", report.policy},
        {"single_step", report.single_step},
        {"corpus", report.corpus},
        {"tokens", report.audit.tokens},
        {"gradient_norm", report.gradient_norm},
        {"response_length", static_cast<double>(batch.samples.responses.total()) / batch.size()},
        {"repetition", repetition_rate(batch.samples.responses)},
        {"sampling_seconds", sampling_seconds}};
    report.audit.each([&](const char* name, double value) { metrics[name] = value; });
    return metrics;
  }

  void save(SafetensorsWriter& writer) const { save_rollouts(writer, rollouts_); }
  void restore(const SafetensorsFile& file) { rollouts_ = load_rollouts(file); }

 private:
  const MiniLlm<S>& how_;
  const MiniLlmPhases& phases_;
  Student& student_;
  const Teacher& teacher_;
  Optimizer<Policy, typename Student::Backend>& optimizer_;
  Batches prompts_;
  std::optional<Batches> corpus_;
  std::uint64_t seed_;
  int batch_size_;
  Rollouts rollouts_;

  static const MiniLlmPhases& checked(const MiniLlm<S>& how, const MiniLlmPhases& phases,
                                      const RunOptions& options) {
    require_valid(how);
    require_valid(phases);
    if (options.batch_size < 1 || phases.rollouts % options.batch_size != 0)
      fail<ValueError>("minillm", "{} rollouts are no multiple of the batch size {}", phases.rollouts,
                       options.batch_size);
    return phases;
  }

  void roll_out_phase(Index phase) {
    const RandomKey key = RandomKey{seed_, 0x726f6c6c}.fork(static_cast<std::uint64_t>(phase));
    const Batch prompts = prompts_.at(phase);
    rollouts_ = {};
    for (int first = 0; first < prompts.size(); first += phases_.sampling_batch) {
      Batch part = prompts.slice(first, std::min(prompts.size(), first + phases_.sampling_batch));
      // A prompt may come twice in a phase: its place in the phase names its sample.
      for (int i = 0; i < part.size(); ++i)
        part.ids[static_cast<std::size_t>(i)] = static_cast<std::uint64_t>(first + i);
      Rollouts sampled = roll_out(student_, teacher_, part, how_.sampling,
                                  {.max_tokens = how_.max_tokens, .end_token = how_.end_token, .key = key});
      for (int i = 0; i < part.size(); ++i)
        sampled.samples.ids[static_cast<std::size_t>(i)] = prompts.ids[static_cast<std::size_t>(first + i)];
      rollouts_.append(sampled);
    }
  }
};

}  // namespace detail

/// Trains `student` by MiniLLM on `prompts` (whose responses are not looked at) in `folder`, as
/// `run_training` does by GKD's recipes. `corpus`, which may be nullptr, is what CorpusLoss learns. The
/// rollouts are part of the checkpoint: a run that was killed while it sampled or between updates continues
/// bit-identical. Throws ValueError for settings out of range, and what `run_loop` throws.
template <class S, LanguageModel Student, LanguageModel Teacher, class Policy>
RunResult run_minillm(RunFolder& folder, const MiniLlm<S>& how, const MiniLlmPhases& phases, Student& student,
                      const Teacher& teacher, Optimizer<Policy, typename Student::Backend>& optimizer,
                      const Batch& prompts, const Batch* corpus, const RunOptions& options,
                      const nlohmann::json& config = nlohmann::json::object(),
                      const std::function<nlohmann::json()>& evaluate = {}) {
  detail::MiniLlmMethod<S, Student, Teacher, Policy> method(how, phases, student, teacher, optimizer, prompts,
                                                            corpus, options);
  nlohmann::json recipe = to_json(how);
  recipe["phases"] = to_json(phases);
  return run_loop(folder, method, parameters(student), optimizer, options, recipe, config, evaluate);
}

}  // namespace retort
