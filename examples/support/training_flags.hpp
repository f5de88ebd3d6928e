#pragma once

#include <string>

#include "support/flags.hpp"

/// Flags of the experiments that train a teacher, a student's supervised start, and the student by every
/// recipe. `Settings` has a field for each, named like the flag.
namespace support {

/// Steps, batches, learning rates and schedule; `examples` is what a batch has: "words".
template <class Settings>
void add_training_flags(const FlagGroup& group, Settings& s, const std::string& examples) {
  group.positive("--teacher-steps", s.teacher_steps, "optimizer steps of the teacher");
  group.positive("--sft-steps", s.sft_steps, "optimizer steps of the student's supervised start");
  group.positive("--steps", s.steps, "optimizer steps of every recipe");
  group.positive("--batch", s.batch_size, examples + " a step");
  group.not_negative("--micro-batch", s.micro_batch, examples + " in memory at once; 0: the whole batch");
  group.positive("--teacher-rate", s.teacher_rate, "learning rate of the teacher");
  group.positive("--sft-rate", s.sft_rate, "learning rate of the supervised start");
  group.positive("--rate", s.rate, "learning rate of every recipe");
  group.one_of("--schedule", s.schedule, {"constant", "linear", "cosine", "inverse_sqrt"},
               "constant, linear, cosine or inverse_sqrt");
  group.in("--warm-up", s.warm_up, 0, 1, "share of the steps in which the rate rises");
  group.positive("--clip", s.clip_norm, "largest norm of the gradient");
}

/// Widths of the model of `who`, "teacher" or "student"; its depths are flags of the program.
template <class ModelSize>
void add_size_flags(const FlagGroup& group, const std::string& who, ModelSize& size) {
  group.positive("--" + who + "-width", size.width, "width of the residual stream");
  group.positive("--" + who + "-heads", size.heads, "attention heads");
  group.positive("--" + who + "-hidden", size.hidden, "width of the feed-forward");
}

/// Where runs go, which teacher they have, and whether they begin anew.
template <class Settings>
void add_run_flags(CLI::App& app, Settings& s) {
  const FlagGroup group{app};
  group
      .add("--out", s.out,
           "folder for runs, results and pictures; a run in it that was cut short is continued")
      ->check(not_empty());
  app.add_option("--teacher", s.teacher_folder,
                 "run folder of a trained teacher to use instead of training one");
  group.flag("--fresh", s.fresh, "begin anew: remove the files of the same runs in --out");
}

/// How often every student is trained.
template <class Settings>
void add_seed_flags(const FlagGroup& group, Settings& s) {
  group.positive("--seeds", s.seeds, "how often every student is trained");
  group.not_negative("--first-seed", s.first_seed, "the first of them");
}

}  // namespace support
