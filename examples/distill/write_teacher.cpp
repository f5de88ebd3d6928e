#include "distill/write_teacher.hpp"

#include <cstdio>
#include <filesystem>

#include "distill/examples.hpp"
#include "distill/models.hpp"
#include "distill/recipe.hpp"
#include "retort/io/progress.hpp"
#include "retort/training/offline_teacher.hpp"
#include "support/device.hpp"
#include "support/tokens.hpp"

namespace distill {

using retort::fail, retort::Index, retort::ValueError;

template <retort::Backend B>
int write_teacher(const Settings& s) {
  const auto teacher = load_model<B>(s.teacher);
  const auto tokenizer = support::load_tokens(s.teacher);
  retort::check_vocabulary(tokenizer, teacher.vocabulary());
  // Rows without a token do not count, so that students with other ones, or none, can be trained.
  const Index vocabulary = tokenizer.vocabulary();
  if (s.teacher_top_k > vocabulary)
    fail<ValueError>("teacher", "--teacher-top-k {}, expected at most the {} tokens of the vocabulary",
                     s.teacher_top_k, vocabulary);
  const auto recipe = recipe_of(s, vocabulary, support::ends_of(tokenizer, s.teacher));
  const bool samples = s.teacher_outputs == "teacher";
  const auto options = data_options(s, recipe.end_token, !samples, {teacher.positions()});
  const Examples examples = read_examples(s, tokenizer, options);
  retort::Batch all = examples.train;
  for (int i = 0; i < examples.held_out.size(); ++i)
    all.push_back(examples.held_out.prompts[i], examples.held_out.responses[i],
                  examples.held_out.ids[static_cast<std::size_t>(i)]);
  fmt::print("{}: {} examples, {} of them held out{}\n", s.data, all.size(), examples.held_out.size(),
             examples.remarks);
  std::fflush(stdout);

  {
    retort::Progress progress({.label = "teacher", .unit = "examples", .total = all.size()});
    const retort::OfflineTeacherOptions how{.info = {.k = s.teacher_top_k,
                                                     .vocabulary = vocabulary,
                                                     .temperature = s.loss_temperature,
                                                     .dtype = s.teacher_dtype,
                                                     .tokenizer = digest_of(tokenizer),
                                                     .teacher = s.teacher},
                                            .batch_size = s.micro_batch > 0 ? s.micro_batch : s.batch_size,
                                            .progress = [&](int count) { progress.advance(count); }};
    if (samples)
      retort::write_teacher_file(s.write_teacher, teacher, all, recipe.sampler,
                                 recipe.generation({s.seed, 0x74656163}), how);
    else
      retort::write_teacher_file(s.write_teacher, teacher, all, how);
  }

  const retort::TeacherFile file(s.write_teacher);
  const auto bytes = std::filesystem::file_size(s.write_teacher);
  fmt::print("teacher's file: {}: {} examples, {} response tokens, {} bytes, {:.1f} bytes a response token\n",
             s.write_teacher, file.examples(), file.response_tokens(), bytes,
             static_cast<double>(bytes) / static_cast<double>(file.response_tokens()));
  return 0;
}

template int write_teacher<support::CompiledBackend>(const Settings&);

}  // namespace distill
