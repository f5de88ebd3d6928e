#include "g2p/comparison.hpp"

#include <cstdio>
#include <filesystem>

#include "g2p/experiment.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/training/interrupt.hpp"
#include "retort/version.hpp"

namespace g2p {

namespace {

template <retort::Backend B>
void describe_data(const Dictionary& dictionary, const Experiment<B>& experiment, const std::string& path) {
  fmt::print("{}: {} words, {} pronunciations; {} pairs to train on, {} words to test; vocabulary of {}\n",
             path, dictionary.entries.size(), dictionary.pronunciations(), experiment.train().size(),
             experiment.test().words.size(), experiment.vocabulary().size());
  const auto skipped = [](const Skipped& s, const char* why) {
    if (s.count == 0) return;
    std::string names;
    for (const auto& n : s.named) names += (names.empty() ? "" : ", ") + n;
    fmt::print("skipped {} words {}: {}{}\n", s.count, why, names,
               s.count > std::ssize(s.named) ? ", ..." : "");
  };
  skipped(dictionary.foreign, "with characters other than a-z and the apostrophe");
  skipped(dictionary.too_long, "longer than the limits");
}

}  // namespace

template <retort::Backend B>
void compare(const Settings& settings) {
  using Model = g2p::Model<B>;
  if (settings.threads > 0) retort::set_thread_count(settings.threads);
  check(settings);  // --fresh removes runs, a wrong value must not
  const retort::InterruptGuard guard;
  const std::vector<Entrant> list = entrants(settings);
  const Dictionary dictionary = read_dictionary(
      settings.data, {.most_letters = settings.most_letters, .most_phonemes = settings.most_phonemes});
  const Experiment<B> experiment(settings, dictionary);
  describe_data(dictionary, experiment, settings.data);

  Report report;
  Model teacher = experiment.make(settings.teacher, settings.first_seed);
  Model student = experiment.make(settings.student, settings.first_seed);
  fmt::print("teacher: {} parameters, student: {}\n", retort::parameter_count(retort::parameters(teacher)),
             retort::parameter_count(retort::parameters(student)));
  std::fflush(stdout);

  ResultRow teacher_row{.recipe = "teacher", .seed = settings.first_seed};
  if (settings.teacher_folder.empty()) {
    const auto result = experiment.run("teacher", as_any(retort::recipes::sft(), settings), teacher, nullptr,
                                       settings.teacher_rate, settings.teacher_steps, settings.first_seed);
    teacher_row.seconds = result.seconds;
  } else {
    experiment.load_teacher(teacher);
  }
  experiment.evaluate(teacher_row, teacher, nullptr);
  report.rows.push_back(teacher_row);

  for (int i = 0; i < settings.seeds; ++i) {
    const std::uint64_t seed = settings.first_seed + static_cast<std::uint64_t>(i);
    const std::string folder = fmt::format("seed{}/", seed);
    Model start = experiment.make(settings.student, seed);
    const auto sft = experiment.run(folder + "start", as_any(retort::recipes::sft(), settings), start,
                                    nullptr, settings.sft_rate, settings.sft_steps, seed);
    ResultRow start_row{.recipe = "start (sft)", .seed = seed, .seconds = sft.seconds};
    experiment.evaluate(start_row, start, &teacher);
    report.rows.push_back(start_row);

    for (const Entrant& entrant : list) {
      Model model = experiment.make(settings.student, seed);
      retort::copy_parameters(retort::parameters(start), retort::parameters(model));
      const auto result = experiment.run(folder + entrant.folder(), entrant.how, model, &teacher,
                                         settings.rate, settings.steps, seed + 1000);
      ResultRow row{.recipe = entrant.recipe,
                    .divergence = entrant.divergence,
                    .lambda = entrant.lambda,
                    .seed = seed,
                    .seconds = result.seconds};
      experiment.evaluate(row, model, &teacher);
      report.rows.push_back(row);
      report.curves.push_back({entrant.label(), seed, result.curve});
    }
  }
  report.curve_words = experiment.curve_words();
  report.curves.push_back({"teacher", settings.first_seed, {{0, 0, experiment.validate(teacher).wer()}}});
  report.settings = {{"library", fmt::format("retort {}", retort::version)},
                     {"device", settings.device.name},
                     {"dtype", settings.device.dtype},
                     {"data", settings.data},
                     {"teacher", settings.teacher_folder.empty() ? "trained here" : settings.teacher_folder},
                     {"teacher_model", retort::to_json(teacher.config())},
                     {"student_model", retort::to_json(student.config())},
                     {"teacher_steps", settings.teacher_steps},
                     {"sft_steps", settings.sft_steps},
                     {"steps", settings.steps},
                     {"teacher_rate", settings.teacher_rate},
                     {"sft_rate", settings.sft_rate},
                     {"rate", settings.rate},
                     {"schedule", settings.schedule},
                     {"batch_size", settings.batch_size},
                     {"optimizer", settings.optimizer.name},
                     {"warm_up", settings.warm_up},
                     {"most_letters", settings.most_letters},
                     {"most_phonemes", settings.most_phonemes},
                     {"clip_norm", settings.clip_norm},
                     {"dropout", settings.dropout},
                     {"temperature", settings.temperature},
                     {"top_k", settings.top_k},
                     {"top_p", settings.top_p},
                     {"loss_temperature", settings.loss_temperature},
                     {"reduction", settings.reduction},
                     {"max_tokens", settings.max_tokens},
                     {"first_seed", settings.first_seed},
                     {"seeds", settings.seeds},
                     {"evaluation_seed", settings.evaluation_seed},
                     {"test_words", experiment.test().words.size()}};
  report.settings.update(support::values_of(support::optimizer_of(settings.optimizer, settings.rate)));
  fmt::print("\n");
  write_report(report, settings.out);
}

template void compare<support::CompiledBackend>(const Settings&);

}  // namespace g2p
