#pragma once

#include <string>

#include "g2p/settings.hpp"
#include "support/optimizer.hpp"
#include "support/training_flags.hpp"

/// The command line of the experiment.
namespace g2p {

namespace detail {

inline void size_flags(const support::FlagGroup& group, const std::string& who, ModelSize& size) {
  support::add_size_flags(group, who, size);
  group.positive("--" + who + "-encoder-layers", size.encoder_layers, "encoder blocks");
  group.positive("--" + who + "-decoder-layers", size.decoder_layers, "decoder blocks");
}

}  // namespace detail

/// Adds all flags. `--quick` and `--full` change defaults; call `apply_form` before parsing, see main.
inline void add_flags(CLI::App& app, Settings& s) {
  const support::FlagGroup general{app};
  general.add("--data", s.data, "pronouncing dictionary: festival's cmudict or the plain cmudict format");
  support::add_run_flags(app, s);
  CLI::Option* quick = general.flag("--quick", s.quick, "the short form: minutes on two cores");
  CLI::Option* full = general.flag("--full", s.full,
                                   "three seeds, seven divergences, lambda 0, 0.5 and 1; mean and deviation");
  full->excludes(quick);
  general.positive("--most-letters", s.most_letters, "longer words are skipped and counted");
  general.positive("--most-phonemes", s.most_phonemes, "longer pronunciations are skipped and counted");

  const support::FlagGroup recipes{app, "Recipes"};
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
  support::add_seed_flags(recipes, s);
  recipes.positive("--temperature", s.temperature, "of sampled outputs");
  recipes.not_negative("--top-k", s.top_k,
                       "sampled outputs are drawn from the K most probable tokens; 0: all");
  recipes.in("--top-p", s.top_p, 0, 1, "and from the most probable tokens that together reach P");
  recipes.positive("--loss-temperature", s.loss_temperature, "divides both models' logits in the loss");
  recipes.one_of("--reduction", s.reduction, {"per_sequence", "per_token"},
                 "mean over sequences or over tokens");
  recipes.positive("--max-tokens", s.max_tokens, "longest sampled pronunciation");

  const support::FlagGroup models{app, "Models"};
  detail::size_flags(models, "teacher", s.teacher);
  detail::size_flags(models, "student", s.student);
  models.in("--dropout", s.dropout, 0, 0.99, "of both models while they train");
  models.in("--buckets", s.buckets, 4, 1024, "of relative positions");
  models.positive("--max-distance", s.max_distance, "from here on distances share a bucket");

  const support::FlagGroup training{app, "Training"};
  support::add_training_flags(training, s, "words");
  support::add_optimizer_flags(training, s.optimizer);
  support::add_device_flags(app, s.device, "Training");

  const support::FlagGroup evaluation{app, "Evaluation"};
  evaluation.not_negative("--evaluation-words", s.evaluation_words, "test words; 0: all");
  evaluation.not_negative("--evaluation-seed", s.evaluation_seed, "of the sampled answers to them");
  evaluation.positive("--curve-words", s.curve_words, "validation words evaluated while training");
  evaluation.positive("--curve-points", s.curve_points, "evaluations while training");
  evaluation.not_negative("--threads", s.threads, "threads; 0: all cores");
  support::let_last_count(app);
}

}  // namespace g2p
