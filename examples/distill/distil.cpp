#include "distill/distil.hpp"

#include <cstdio>
#include <filesystem>

#include "distill/curve.hpp"
#include "distill/examples.hpp"
#include "distill/run.hpp"
#include "distill/write_teacher.hpp"
#include "retort/core/parallel.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/optim/schedules.hpp"
#include "support/curves.hpp"
#include "support/program.hpp"
#include "support/tokens.hpp"

namespace distill {

using retort::fail, retort::ValueError;

namespace {

namespace fs = std::filesystem;

/// What costs little is checked before models are loaded, and long before --fresh removes a run.
void check(const Settings& s) {
  if (s.max_tokens < 2) fail<ValueError>("distill", "--max-tokens {}, expected at least 2", s.max_tokens);
  const auto recipe = recipe_of(s, 1, {});
  retort::check_policy(recipe);
  (void)support::optimizer_of(s.optimizer, s.rate);
  (void)retort::parse_schedule(s.schedule, s.warm_up);
  if (s.teacher.empty() == s.teacher_file.empty())
    fail<ValueError>("teacher", "give --teacher or --teacher-file, one of them");
  if (s.data.empty() && s.teacher_file.empty())
    fail<ValueError>("data", "--data is missing, and without --teacher-file there are no other examples");
  const bool cut = !s.student_layers.empty() || !s.student_encoder_layers.empty();
  if (!s.write_teacher.empty()) {
    if (s.teacher.empty()) fail<ValueError>("teacher", "--write-teacher needs --teacher");
    if (cut || !s.student.empty())
      fail<ValueError>("student", "--write-teacher trains no student: leave out --student and its layers");
  }
  if (s.teacher_file.empty()) return;
  if (cut) fail<ValueError>("student", "--student-layers are layers of --teacher, a teacher's file has none");
  if (s.student.empty()) fail<ValueError>("student", "--teacher-file needs --student");
  if (!retort::always_data(recipe.outputs))
    fail<ValueError>("recipe",
                     "{} samples responses while it trains, of which --teacher-file knows nothing: expected "
                     "sft, supervised_kd, or gkd with --lambda 0",
                     s.recipe);
}

/// ValueError for a run that the teacher's file cannot serve.
void require_fit(const Settings& s, const retort::TeacherFile& file, retort::Index student_vocabulary) {
  const auto& info = file.info();
  if (info.temperature != s.loss_temperature)
    fail<ValueError>("teacher", "'{}' was made with --loss-temperature {}, given {}", s.teacher_file,
                     info.temperature, s.loss_temperature);
  if (info.vocabulary > student_vocabulary)
    fail<ValueError>("teacher", "'{}' is of a vocabulary of {}, the student has {} tokens", s.teacher_file,
                     info.vocabulary, student_vocabulary);
}

/// "smollm2, the 50 most probable of 49152 tokens".
std::string described(const retort::TeacherFile& file) {
  const auto& info = file.info();
  return fmt::format("{}, the {} most probable of {} tokens",
                     info.teacher.empty() ? "not named" : info.teacher, info.k, info.vocabulary);
}

/// What decides the run beside recipe, optimizer and RunOptions; not where a teacher's file lies, whose
/// contents the run knows.
template <retort::Backend B>
nlohmann::json setting_of(const Task<B>& t, int max_prompt) {
  const Settings& s = t.settings;
  return {{"teacher", t.teacher_file != nullptr ? t.teacher_file->info().teacher : s.teacher},
          {"student", s.student},
          {"student_layers", s.student_layers},
          {"student_encoder_layers", s.student_encoder_layers},
          {"data", s.data},
          {"prompt_field", s.prompt_field},
          {"response_field", s.response_field},
          {"template", s.format},
          {"max_prompt", max_prompt},
          {"tokens", digest_of(t.tokenizer)},
          {"model", description(s, t.student)},
          {"lora_targets", s.lora_targets},
          {"freeze", s.freeze},
          {"examples", t.train.size()},
          {"held_out", t.held_out.size()}};
}

}  // namespace

template <retort::Backend B>
int distil(const Settings& s) {
  if (s.threads > 0) retort::set_thread_count(s.threads);
  check(s);
  if (!s.write_teacher.empty()) return write_teacher<B>(s);

  std::optional<retort::TeacherFile> file;
  std::optional<Model<B>> loaded;
  if (s.teacher.empty())
    file.emplace(s.teacher_file);
  else
    loaded.emplace(load_model<B>(s.teacher));
  Model<B>* const teacher = loaded ? &*loaded : nullptr;
  if (!s.student.empty()) require_folder(s.student);
  const auto& tokens = teacher != nullptr ? s.teacher : s.student;
  const auto tokenizer = support::load_tokens(tokens);
  if (teacher != nullptr && !s.student.empty())
    support::require_same_tokens(tokenizer, support::load_tokens(s.student), "teacher and student");
  auto student = make_student(s, teacher);
  if (teacher != nullptr) retort::check_vocabulary(tokenizer, teacher->vocabulary());
  retort::check_vocabulary(tokenizer, student.vocabulary());
  if (file) {
    file->require_tokenizer(digest_of(tokenizer));
    require_fit(s, *file, student.vocabulary());
  }
  const auto recipe = recipe_of(s, tokenizer.vocabulary(), support::ends_of(tokenizer, tokens));
  const auto options =
      data_options(s, recipe.end_token, needs_responses(recipe),
                   {(teacher != nullptr ? *teacher : student).positions(), student.positions()});
  Examples examples = read_examples(s, tokenizer, options, file ? &*file : nullptr);
  fmt::print("{}: {} examples to train on, {} held out{}\n", s.data.empty() ? s.teacher_file : s.data,
             examples.train.size(), examples.held_out.size(), examples.remarks);

  choose_trained(s, student);
  fmt::print(
      "teacher: {}; student: {}, {} weights, {} of them trained\n",
      file ? described(*file) : fmt::format("{}, {} weights", teacher->family(), weight_count(*teacher)),
      student.family(), weight_count(student), trained_count(student));
  std::fflush(stdout);

  Task<B> task{.settings = s,
               .tokenizer = tokenizer,
               .teacher = teacher,
               .teacher_file = file ? &*file : nullptr,
               .student = student,
               .recipe = recipe,
               .train = std::move(examples.train),
               .held_out = std::move(examples.held_out),
               .has_references = examples.has_references,
               .setting = {}};
  task.setting = setting_of(task, options.max_prompt);
  const Outcome outcome = distill::run(task);
  if (outcome.stopped) {
    fmt::print(stderr, "stopped; the same command continues from the checkpoint in {}\n", s.out);
    return support::exit_stopped;
  }
  fmt::print("{} steps in {:.0f} s\n", s.steps, outcome.seconds);
  fmt::print("{}\n", export_student(s, student));
  const fs::path picture = fs::path(s.out) / "curve.png";
  const std::string why_not = support::run_gnuplot(curve_program(outcome, picture), picture);
  fmt::print("{}\n", support::picture_line(picture, why_not));
  return 0;
}

template int distil<support::CompiledBackend>(const Settings&);

}  // namespace distill
