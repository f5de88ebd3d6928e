#include "distill/distil.hpp"

#include <cstdio>
#include <filesystem>

#include "distill/curve.hpp"
#include "distill/data.hpp"
#include "distill/run.hpp"
#include "retort/core/parallel.hpp"
#include "retort/io/policy_json.hpp"
#include "retort/optim/schedules.hpp"
#include "support/curves.hpp"
#include "support/program.hpp"
#include "support/tokens.hpp"

namespace distill {

using retort::fail, retort::ValueError;

namespace {

retort::Batch first(const retort::Batch& all, int count) {
  return count > 0 && count < all.size() ? all.slice(0, count) : all;
}

}  // namespace

template <retort::Backend B>
int distil(const Settings& s) {
  namespace fs = std::filesystem;
  if (s.threads > 0) retort::set_thread_count(s.threads);
  // What costs little is checked before models are loaded, and long before --fresh removes a run.
  if (s.max_tokens < 2) fail<ValueError>("distill", "--max-tokens {}, expected at least 2", s.max_tokens);
  retort::check_policy(recipe_of(s, 1, {}));
  (void)support::optimizer_of(s.optimizer, s.rate);
  (void)retort::parse_schedule(s.schedule, s.warm_up);
  auto teacher = load_model<B>(s.teacher);
  const auto tokenizer = support::load_tokens(s.teacher);
  if (!s.student.empty()) {
    if (!fs::is_directory(s.student)) (void)load_model<B>(s.student);  // says what is wrong with it
    support::require_same_tokens(tokenizer, support::load_tokens(s.student), "teacher and student");
  }
  auto student = make_student(s, teacher);
  for (const Model<B>* model : {&teacher, &student}) retort::check_vocabulary(tokenizer, model->vocabulary());
  const auto recipe = recipe_of(s, tokenizer.vocabulary(), support::ends_of(tokenizer, s.teacher));

  DataOptions options{.prompt_field = s.prompt_field,
                      .response_field = s.response_field,
                      .format = s.format,
                      .max_prompt = s.max_prompt,
                      .max_tokens = s.max_tokens,
                      .end_token = recipe.end_token,
                      .needs_response = needs_responses(recipe),
                      .decoder = is_decoder(teacher)};
  for (const Model<B>* model : {&teacher, &student})
    if (const auto room = model->positions()) {
      const auto left = *room - s.max_tokens;
      if (left < 1)
        fail<ValueError>("distill", "--max-tokens {} leaves no room for a prompt in {} positions",
                         s.max_tokens, *room);
      options.max_prompt = static_cast<int>(std::min<retort::Index>(options.max_prompt, left));
    }
  Data data = read_data(s.data, tokenizer, options);
  retort::Batch train = data.examples, held_out;
  bool has_references = data.has_responses;
  if (s.held_out.empty()) {
    const int rest = train.size() - s.held_out_count;
    if (rest < 1)
      fail<ValueError>("distill", "{} usable examples, of which {} are held out: none is left to train on",
                       train.size(), s.held_out_count);
    held_out = train.slice(rest, train.size());
    train = train.slice(0, rest);
  } else {
    const Data other = read_data(s.held_out, tokenizer, options);
    held_out = first(other.examples, s.held_out_count);
    has_references = other.has_responses;
  }
  train = first(train, s.most_examples);
  fmt::print("{}: {} examples to train on, {} held out{}\n", s.data, train.size(), held_out.size(),
             data.remarks(options));

  choose_trained(s, student);
  fmt::print("teacher: {}, {} weights; student: {}, {} weights, {} of them trained\n", teacher.family(),
             weight_count(teacher), student.family(), weight_count(student), trained_count(student));
  std::fflush(stdout);

  Task<B> task{.settings = s,
               .tokenizer = tokenizer,
               .teacher = teacher,
               .student = student,
               .recipe = recipe,
               .train = std::move(train),
               .held_out = std::move(held_out),
               .has_references = has_references,
               .setting = {{"teacher", s.teacher},
                           {"student", s.student},
                           {"student_layers", s.student_layers},
                           {"student_encoder_layers", s.student_encoder_layers},
                           {"data", s.data},
                           {"prompt_field", s.prompt_field},
                           {"response_field", s.response_field},
                           {"template", s.format},
                           {"max_prompt", options.max_prompt},
                           {"tokens", fmt::format("{:016x}", tokenizer.digest())},
                           {"model", description(s, student)},
                           {"lora_targets", s.lora_targets},
                           {"freeze", s.freeze}}};
  task.setting["examples"] = task.train.size();
  task.setting["held_out"] = task.held_out.size();
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
