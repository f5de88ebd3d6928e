#include "arithmetic/comparison.hpp"

#include <cstdio>

#include "arithmetic/experiment.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/training/interrupt.hpp"
#include "retort/version.hpp"

namespace arithmetic {

namespace {

/// What the results keep of the settings.
nlohmann::json description(const Settings& s) {
  return {{"library", fmt::format("retort {}", retort::version)},
          {"device", s.device.name},
          {"dtype", s.device.dtype},
          {"data", s.data.empty() ? "generated" : s.data},
          {"data_seed", s.data_seed},
          {"largest", s.limits.largest},
          {"most_steps", s.limits.most_steps},
          {"teacher", s.teacher_folder.empty() ? "trained here" : s.teacher_folder},
          {"positions", s.positions},
          {"max_tokens", s.max_tokens},
          {"teacher_steps", s.teacher_steps},
          {"sft_steps", s.sft_steps},
          {"steps", s.steps},
          {"batch_size", s.batch_size},
          {"teacher_rate", s.teacher_rate},
          {"sft_rate", s.sft_rate},
          {"rate", s.rate},
          {"schedule", s.schedule},
          {"warm_up", s.warm_up},
          {"clip_norm", s.clip_norm},
          {"beta1", s.adamw.beta1},
          {"beta2", s.adamw.beta2},
          {"epsilon", s.adamw.epsilon},
          {"weight_decay", s.adamw.weight_decay},
          {"dropout", s.dropout},
          {"temperature", s.temperature},
          {"group", s.group},
          {"phase", s.phase},
          {"inner_epochs", s.inner_epochs},
          {"teacher_mixing", s.teacher_mixing},
          {"corpus_weight", s.corpus_weight},
          {"evaluation_seeds", s.evaluation_seeds},
          {"first_seed", s.first_seed},
          {"seeds", s.seeds}};
}

}  // namespace

template <retort::Backend B>
void compare(const Settings& settings) {
  using Model = arithmetic::Model<B>;
  if (settings.threads > 0) retort::set_thread_count(settings.threads);
  check(settings);  // --fresh removes runs, a wrong value must not
  const retort::InterruptGuard guard;
  const std::vector<Entrant> list = entrants(settings);
  const Entrant sft{"sft", as_any(retort::recipes::sft(), settings)};
  const Experiment<B> experiment(settings);

  Report report;
  report.settings = description(settings);
  Model teacher = experiment.make(settings.teacher, settings.first_seed);
  Model small = experiment.make(settings.student, settings.first_seed);
  fmt::print("teacher: {} parameters, student: {}\n", retort::parameter_count(retort::parameters(teacher)),
             retort::parameter_count(retort::parameters(small)));
  std::fflush(stdout);
  report.settings["teacher_model"] = retort::model_json(teacher);
  report.settings["student_model"] = retort::model_json(small);

  ResultRow teacher_row{.recipe = "teacher", .seed = settings.first_seed};
  if (settings.teacher_folder.empty())
    teacher_row.seconds =
        experiment
            .run({"teacher", settings.teacher_rate, settings.teacher_steps, settings.first_seed}, sft,
                 teacher, nullptr)
            .seconds;
  else
    experiment.load_teacher(teacher);
  experiment.evaluate(teacher_row, teacher, nullptr, {});
  const retort::Sequences teacher_samples = experiment.sample(teacher, 1);
  report.rows.push_back(teacher_row);

  for (int i = 0; i < settings.seeds; ++i) {
    const std::uint64_t seed = settings.first_seed + static_cast<std::uint64_t>(i);
    const std::string folder = fmt::format("seed{}/", seed);
    const auto measure = [&](const std::string& name, const Model& model, const Trained& trained) {
      ResultRow row{.recipe = name, .seed = seed, .seconds = trained.seconds};
      experiment.evaluate(row, model, &teacher, teacher_samples);
      report.rows.push_back(row);
    };
    Model start = experiment.make(settings.student, seed);
    measure(
        "start (sft)", start,
        experiment.run({folder + "start", settings.sft_rate, settings.sft_steps, seed}, sft, start, nullptr));
    for (const Entrant& entrant : list) {
      Model model = experiment.make(settings.student, seed);
      retort::copy_parameters(retort::parameters(start), retort::parameters(model));
      const Trained trained = experiment.run(
          {folder + entrant.name, settings.rate, settings.steps, seed + 1000}, entrant, model, &teacher);
      measure(entrant.name, model, trained);
      report.accuracy.push_back({entrant.name, seed, trained.curve});
    }
  }
  report.accuracy.push_back({"teacher", settings.first_seed, {{0, 0, experiment.validate(teacher)}}});
  fmt::print("\n");
  write_report(report, settings.out, settings.ablate ? "ablations" : "results");
}

template void compare<support::CompiledBackend>(const Settings&);

}  // namespace arithmetic
