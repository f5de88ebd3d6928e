#pragma once

#include <string>

#include "arithmetic/settings.hpp"
#include "support/optimizer.hpp"
#include "support/training_flags.hpp"

/// The command line of the experiment.
namespace arithmetic {

namespace detail {

inline void size_flags(const support::FlagGroup& group, const std::string& who, ModelSize& size) {
  support::add_size_flags(group, who, size);
  group.positive("--" + who + "-layers", size.layers, "blocks");
}

}  // namespace detail

/// Adds all flags. `--quick` and `--full` change defaults; call `apply_form` before parsing, see main.
inline void add_flags(CLI::App& app, Settings& s) {
  const support::FlagGroup general{app};
  support::add_run_flags(app, s);
  CLI::Option* quick =
      general.flag("--quick", s.quick, "the short form: minutes on two cores, smaller numbers");
  CLI::Option* full = general.flag("--full", s.full, "longer training and three seeds; mean and deviation");
  full->excludes(quick);
  general.flag("--ablate", s.ablate, "MiniLLM as in the paper and without its parts, instead of the recipes");

  const support::FlagGroup data{app, "Data"};
  app.add_option("--data", s.data, "folder with GSM8K's train.jsonl and test.jsonl, instead of the generator")
      ->group("Data");
  data.not_negative("--data-seed", s.data_seed, "of generated problems");
  data.add("--largest", s.limits.largest, "largest number that a generated story begins with");
  data.add("--most-steps", s.limits.most_steps, "most calculations of a generated problem, 2 to 4");
  data.positive("--train-problems", s.train_problems, "generated to train on");
  data.positive("--valid-problems", s.valid_problems, "to validate with");
  data.positive("--test-problems", s.test_problems, "generated to test with");
  data.not_negative("--words", s.words, "frequent words that are tokens; others are spelled");
  data.not_negative("--positions", s.positions, "longest prompt and response; 0: 192, or 640 with --data");
  data.not_negative("--max-tokens", s.max_tokens, "longest response; 0: 128, or 320 with --data");

  const support::FlagGroup recipes{app, "Recipes"};
  recipes
      .add("--recipes", s.recipes,
           "kd, seq_kd, imit_kd, gkd_forward_kl, gkd_reverse_kl, gkd_jsd, minillm_paper, minillm_reference, "
           "rl_gkd (default: all); with --ablate minillm_paper, no_length_normalisation, no_teacher_mixing, "
           "no_single_step")
      ->delimiter(',')
      ->check(CLI::IsMember({"kd", "seq_kd", "imit_kd", "gkd_forward_kl", "gkd_reverse_kl", "gkd_jsd",
                             "minillm_paper", "minillm_reference", "rl_gkd", "no_length_normalisation",
                             "no_teacher_mixing", "no_single_step"}));
  recipes.add("--alphas", s.alphas, "of rl_gkd: share of distillation, 1 has no reward")->delimiter(',');
  support::add_seed_flags(recipes, s);
  recipes.positive("--temperature", s.temperature, "of GKD's samples");
  recipes.positive("--group", s.group, "of rl_gkd: samples of a prompt");
  recipes.positive("--phase", s.phase, "of MiniLLM: batches sampled at a time");
  recipes.positive("--inner-epochs", s.inner_epochs, "of MiniLLM: passes over them");
  recipes.add("--teacher-mixing", s.teacher_mixing, "of MiniLLM: the teacher's share of the samples");
  recipes.add("--corpus-weight", s.corpus_weight, "of MiniLLM: factor of the loss on the data");

  const support::FlagGroup models{app, "Models"};
  detail::size_flags(models, "teacher", s.teacher);
  detail::size_flags(models, "student", s.student);
  models.in("--dropout", s.dropout, 0, 0.99, "of both models while they train");

  const support::FlagGroup training{app, "Training"};
  support::add_training_flags(training, s, "responses");
  support::add_adamw_flags(training, s.adamw);
  support::add_device_flags(app, s.device, "Training");

  const support::FlagGroup evaluation{app, "Evaluation"};
  evaluation.not_negative("--evaluation-problems", s.evaluation_problems, "test problems; 0: all");
  evaluation.positive("--evaluation-seeds", s.evaluation_seeds, "sampled answers to each of them");
  evaluation.positive("--curve-problems", s.curve_problems, "validation problems while training");
  evaluation.positive("--curve-points", s.curve_points, "evaluations while training");
  evaluation.not_negative("--threads", s.threads, "threads; 0: all cores");
  support::let_last_count(app);
}

}  // namespace arithmetic
