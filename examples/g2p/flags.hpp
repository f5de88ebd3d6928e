#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "g2p/settings.hpp"

/// The command line of the experiment.
namespace g2p {

namespace detail {

inline void size_flags(CLI::App& app, const std::string& who, ModelSize& size) {
  const auto add = [&](const char* what, retort::Index& value, const char* text) {
    app.add_option("--" + who + "-" + what, value, text)
        ->capture_default_str()
        ->group("Models")
        ->check(CLI::PositiveNumber);
  };
  add("width", size.width, "width of the residual stream");
  add("encoder-layers", size.encoder_layers, "encoder blocks");
  add("decoder-layers", size.decoder_layers, "decoder blocks");
  add("heads", size.heads, "attention heads");
  add("hidden", size.hidden, "width of the feed-forward");
}

}  // namespace detail

/// Adds all flags. `--quick` and `--full` change defaults; call `apply_form` before parsing, see main.
inline void add_flags(CLI::App& app, Settings& s) {
  app.add_option("--data", s.data, "pronouncing dictionary: festival's cmudict or the plain cmudict format")
      ->capture_default_str();
  app.add_option("--out", s.out,
                 "folder for runs, results and picture; a run in it that was cut short is continued")
      ->capture_default_str();
  app.add_option("--teacher", s.teacher_folder,
                 "run folder of a trained teacher to use instead of training one");
  app.add_flag("--quick", s.quick, "the short form: minutes on two cores");
  app.add_flag("--full", s.full, "three seeds, seven divergences, lambda 0, 0.5 and 1; mean and deviation");
  app.add_flag("--fresh", s.fresh, "begin anew: remove the files of the same runs in --out");

  app.add_option("--most-letters", s.most_letters, "longer words are skipped and counted")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--most-phonemes", s.most_phonemes, "longer pronunciations are skipped and counted")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);

  app.add_option("--recipes", s.recipes,
                 "sft, seq_kd, supervised_kd, imit_kd, f_distill, on_policy_kd, gkd (default: all)")
      ->delimiter(',')
      ->group("Recipes")
      ->check(
          CLI::IsMember({"sft", "seq_kd", "supervised_kd", "imit_kd", "f_distill", "on_policy_kd", "gkd"}));
  app.add_option("--divergences", s.divergences, "divergences of gkd, such as 'jsd(0.1),reverse_kl'")
      ->delimiter(',')
      ->group("Recipes");
  app.add_option("--lambdas", s.lambdas, "student's share of the outputs in gkd")
      ->delimiter(',')
      ->group("Recipes");
  app.add_option("--seeds", s.seeds, "how often every student is trained")
      ->capture_default_str()
      ->group("Recipes")
      ->check(CLI::PositiveNumber);
  app.add_option("--first-seed", s.first_seed, "the first of them")->capture_default_str()->group("Recipes");
  app.add_option("--temperature", s.temperature, "of sampled outputs")
      ->capture_default_str()
      ->group("Recipes")
      ->check(CLI::PositiveNumber);
  app.add_option("--loss-temperature", s.loss_temperature, "divides both models' logits in the loss")
      ->capture_default_str()
      ->group("Recipes")
      ->check(CLI::PositiveNumber);
  app.add_option("--reduction", s.reduction, "mean over sequences or over tokens")
      ->capture_default_str()
      ->group("Recipes")
      ->check(CLI::IsMember({"per_sequence", "per_token"}));
  app.add_option("--max-tokens", s.max_tokens, "longest sampled pronunciation")
      ->capture_default_str()
      ->group("Recipes")
      ->check(CLI::PositiveNumber);

  detail::size_flags(app, "teacher", s.teacher);
  detail::size_flags(app, "student", s.student);
  app.add_option("--dropout", s.dropout, "of both models while they train")
      ->capture_default_str()
      ->group("Models")
      ->check(CLI::Range(0.0, 0.99));

  app.add_option("--buckets", s.buckets, "of relative positions")
      ->capture_default_str()
      ->group("Models")
      ->check(CLI::Range(4, 1024));
  app.add_option("--max-distance", s.max_distance, "from here on distances share a bucket")
      ->capture_default_str()
      ->group("Models")
      ->check(CLI::PositiveNumber);

  app.add_option("--teacher-steps", s.teacher_steps, "optimizer steps of the teacher")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--sft-steps", s.sft_steps, "optimizer steps of the student's supervised start")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--steps", s.steps, "optimizer steps of every recipe")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--batch", s.batch_size, "words a step")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--micro-batch", s.micro_batch, "words in memory at once; 0: the whole batch")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--optimizer", s.optimizer, "adamw, adafactor or sgd")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::IsMember({"adamw", "adafactor", "sgd"}));
  app.add_option("--schedule", s.schedule, "constant, linear, cosine or inverse_sqrt")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::IsMember({"constant", "linear", "cosine", "inverse_sqrt"}));
  app.add_option("--teacher-rate", s.teacher_rate, "learning rate of the teacher")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--sft-rate", s.sft_rate, "learning rate of the supervised start")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--rate", s.rate, "learning rate of every recipe")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);
  app.add_option("--warm-up", s.warm_up, "share of the steps in which the rate rises")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--beta1", s.beta1, "decay of AdamW's first moment")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::Range(0.0, 0.99999));
  app.add_option("--beta2", s.beta2, "decay of AdamW's second moment")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::Range(0.0, 0.99999));
  app.add_option("--weight-decay", s.weight_decay, "of AdamW")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--momentum", s.momentum, "of SGD")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::Range(0.0, 0.99999));
  app.add_option("--clip", s.clip_norm, "largest norm of the gradient")
      ->capture_default_str()
      ->group("Training")
      ->check(CLI::PositiveNumber);

  app.add_option("--evaluation-words", s.evaluation_words, "test words; 0: all")
      ->capture_default_str()
      ->group("Evaluation")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--curve-words", s.curve_words, "validation words evaluated while training")
      ->capture_default_str()
      ->group("Evaluation")
      ->check(CLI::PositiveNumber);
  app.add_option("--curve-points", s.curve_points, "evaluations while training")
      ->capture_default_str()
      ->group("Evaluation")
      ->check(CLI::PositiveNumber);
  app.add_option("--threads", s.threads, "threads; 0: all cores")
      ->capture_default_str()
      ->group("Evaluation")
      ->check(CLI::NonNegativeNumber);

  support::add_device_flags(app, s.device, "Training");

  // Of a value given twice the last one counts, so that scripts can pass defaults.
  for (CLI::Option* option : app.get_options())
    if (option->get_items_expected_max() == 1) option->take_last();
}

}  // namespace g2p
