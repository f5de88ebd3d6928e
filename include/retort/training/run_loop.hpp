#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "retort/io/checkpoint.hpp"
#include "retort/io/digest.hpp"
#include "retort/io/progress.hpp"
#include "retort/io/run_folder.hpp"
#include "retort/optim/schedules.hpp"
#include "retort/training/interrupt.hpp"
#include "retort/training/step.hpp"

/// The loop around every training method: run folder, checkpoints, metrics, evaluation, stop and resume.
namespace retort {

/// How a training run goes, beyond its recipe and its optimizer.
struct RunOptions {
  Index steps = 1000;
  int batch_size = 64;
  int micro_batch = 0;                   ///< see StepOptions
  double clip_norm = 1.0;                ///< see StepOptions
  AnySchedule schedule = LinearDecay{};  ///< multiplies the optimizer's learning rate
  std::uint64_t seed = 1;                ///< of data order, sampling and dropout
  Index evaluate_every = 0;              ///< steps; 0: at the end only
  Index checkpoint_every = 0;            ///< steps; 0: at the end and when stopped only
  std::string label = "training";        ///< begins the progress line

  /// What decides the course of the run: a checkpoint is continued only if all of it is the same.
  template <class F>
  void each_field(F&& f) const {
    f("steps", steps), f("batch_size", batch_size), f("micro_batch", micro_batch), f("clip_norm", clip_norm);
    f("schedule", schedule), f("seed", seed);
  }
};

/// How a run ended.
struct RunResult {
  bool stopped = false;  ///< by Ctrl-C or SIGTERM, perhaps after the last step; the checkpoint continues it
  Index steps = 0;       ///< done in all
  double seconds =
      0;  ///< of training steps (evaluation and checkpoints left out), earlier parts of the run included
  nlohmann::json evaluations =
      nlohmann::json::array();  ///< what `evaluate` returned, with "step" and "seconds"
};

/// A step's place in its run.
struct RunStep {
  Index step = 0;       ///< steps done before it
  RandomKey key{};      ///< the step's own
  StepOptions options;  ///< micro-batches, clipping, the schedule's factor
};

/// What a run repeats: `step(RunStep)` changes the weights and returns its metrics as a JSON object, of which
/// "mean" is shown while the run goes on, and "notice" as a line of its own. A method with a state of its own
/// beside weights, optimizer and step number has `save(writer)`, which adds tensors under names that begin
/// with "method/", and `restore(file)`, which reads them back.
template <class M>
concept TrainingMethod = requires(M& method, const RunStep& step) {
  { method.step(step) } -> std::same_as<nlohmann::json>;
};

namespace detail {

/// What a run's configuration says of its data and its teacher, which may be nullptr: their contents, not
/// their names.
template <class Teacher>
[[nodiscard]] nlohmann::json inputs_of_run(const Batch& data, const Teacher* teacher) {
  nlohmann::json inputs{{"data", digest(data)}};
  if (teacher != nullptr) inputs["teacher"] = digest_of_weights(*teacher);
  return inputs;
}

}  // namespace detail

/// Repeats `method` in `folder`, which then holds config.json, metrics.jsonl and checkpoint.safetensors. When
/// the folder holds a checkpoint of the same configuration, the run continues from it, bit-identical to one
/// that was never interrupted (its config.json, if damaged, is written again, with a notice); a device other
/// than the CPU and its number type belong to the configuration. `recipe` describes the method, `inputs` data
/// and teacher, `config` what else decides the run (model sizes, say). `evaluate()` returns a JSON object for
/// the metrics (error rates, say).
///
/// Throws FileError if the folder cannot be used, NumericError when a loss, a gradient or a
/// weight is not finite: the last checkpoint stays as it is.
template <TrainingMethod Method, class Policy, Backend B>
RunResult run_loop(RunFolder& folder, Method& method, const ParameterList<B>& list,
                   Optimizer<Policy, B>& optimizer, const RunOptions& options, const nlohmann::json& recipe,
                   const nlohmann::json& inputs, const nlohmann::json& config,
                   const std::function<nlohmann::json()>& evaluate) {
  nlohmann::json all{{"run", to_json(options)},
                     {"recipe", recipe},
                     {"optimizer", to_json(optimizer.policy())},
                     {"inputs", inputs},
                     {"setting", config}};
  if (!std::same_as<typename B::Device, CpuDevice>) all["backend"] = backend_json<B>();
  RunResult result;
  if (folder.has_checkpoint()) {
    const auto state = load_checkpoint(folder.checkpoint_path(), list, optimizer, all, [&](const auto& file) {
      if constexpr (requires { method.restore(file); }) method.restore(file);
    });
    result.steps = state.at("step").template get<Index>();
    if (const std::string notice = folder.mend_config(all, options.seed); !notice.empty())
      fmt::print(stderr, "{}: {}\n", options.label, notice);
  } else {
    folder.write_config(all, options.seed);
  }
  folder.keep_metrics(result.steps > 0 ? result.steps : -1);
  // Times are kept in the metrics alone, so that the checkpoints of an interrupted run equal those of one
  // that was not.
  const auto note_evaluation = [&](const nlohmann::json& metrics) {
    if (!metrics.contains("evaluation")) return;
    nlohmann::json evaluation = metrics["evaluation"];
    evaluation["step"] = metrics["step"];
    evaluation["seconds"] = metrics["seconds"];
    result.evaluations.push_back(std::move(evaluation));
  };
  for (const auto& metrics : folder.metrics()) {
    result.seconds = metrics.value("seconds", result.seconds);
    note_evaluation(metrics);
  }

  // An update may leave weights that are not numbers where loss and gradient were: they never reach a
  // checkpoint.
  const auto require_finite_weights = [&] {
    for (const auto* p : list)
      if (!kernels::all_finite(typename B::Device{}, std::as_const(p->value).data(), p->value.size()))
        fail<NumericError>(
            "run",
            "the update of step {} left weights of {} that are not finite; the last checkpoint is "
            "kept",
            result.steps, p->name);
  };
  const auto save = [&] {
    folder.sync_metrics();
    save_checkpoint(folder.checkpoint_path(), list, optimizer, all, {{"step", result.steps}},
                    [&](auto& writer) {
                      if constexpr (requires { method.save(writer); }) method.save(writer);
                    });
  };
  const auto every = [&](Index period) { return period > 0 && result.steps % period == 0; };

  const RandomKey key = RandomKey{options.seed, 0x7472696e};
  const InterruptGuard guard;
  Progress progress({.label = options.label, .total = options.steps, .start = result.steps});
  while (result.steps < options.steps) {
    if (InterruptGuard::stop_requested()) {
      result.stopped = true;
      require_finite_weights();
      save();
      progress.print(fmt::format("{}: stopped at step {}, checkpoint written", options.label, result.steps));
      return result;
    }
    const double began = steady_seconds();
    const Index step = result.steps;
    nlohmann::json metrics =
        method.step({step,
                     key.fork(static_cast<std::uint64_t>(step)),
                     {.clip_norm = options.clip_norm,
                      .micro_batch = options.micro_batch,
                      .rate_factor = schedule_factor(options.schedule, step, options.steps)}});
    result.seconds += steady_seconds() - began;
    ++result.steps;
    metrics["step"] = result.steps;
    metrics["seconds"] = result.seconds;
    if (metrics.contains("notice")) progress.print(metrics["notice"].template get<std::string>());
    progress.advance(1, metrics.contains("mean")
                            ? fmt::format("loss {:.4f}", metrics["mean"].template get<double>())
                            : std::string());
    const bool last = result.steps == options.steps;
    const bool evaluates = evaluate && (every(options.evaluate_every) || last);
    const bool saves = every(options.checkpoint_every) || last;
    if (evaluates || saves) require_finite_weights();
    if (evaluates) metrics["evaluation"] = evaluate();
    note_evaluation(metrics);
    folder.append_metrics(metrics);
    if (saves) save();
  }
  result.stopped = InterruptGuard::stop_requested();
  return result;
}

}  // namespace retort
