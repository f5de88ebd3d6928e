#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "distill/settings.hpp"

namespace distill {

/// The command line of the program.
inline void add_flags(CLI::App& app, Settings& s) {
  const auto positive = CLI::PositiveNumber;
  const auto not_negative = CLI::NonNegativeNumber;
  const auto add = [&](const char* name, auto& value, const char* text, const char* group) {
    return app.add_option(name, value, text)->capture_default_str()->group(group);
  };
  add("--teacher", s.teacher, "Hugging Face folder of the teacher", "Models")->required();
  add("--student", s.student, "Hugging Face folder of the student, with the teacher's tokenizer", "Models");
  add("--student-layers", s.student_layers, "without --student: the teacher's layers it is made of, 0,2,4",
      "Models")
      ->delimiter(',');
  add("--student-encoder-layers", s.student_encoder_layers, "the same for the encoder, where there is one",
      "Models")
      ->delimiter(',');
  add("--lora-rank", s.lora_rank, "train adapters of this rank instead of all weights", "Models")
      ->check(positive);
  add("--lora-alpha", s.lora_alpha, "the adapters' products are scaled by alpha / rank", "Models")
      ->check(positive);
  add("--lora-dropout", s.lora_dropout, "of the adapters' input", "Models");
  add("--lora-targets", s.lora_targets, "layers by PEFT's names, q_proj,v_proj; default: all linear ones",
      "Models")
      ->delimiter(',');
  add("--freeze", s.freeze, "weights not to train, by patterns of their names: 'token.*'", "Models")
      ->delimiter(',');

  add("--data", s.data, "JSONL, one example a line", "Data")->required();
  add("--held-out", s.held_out, "JSONL of held-out examples; default: the last of --data", "Data");
  add("--held-out-count", s.held_out_count, "how many of them are evaluated", "Data")->check(positive);
  add("--prompt-field", s.prompt_field, "field with the prompt", "Data");
  add("--response-field", s.response_field, "field with the response; it may be absent", "Data");
  add("--template", s.format, "what the model reads, around {prompt}", "Data");
  add("--examples", s.most_examples, "train on the first so many; 0: all", "Data")->check(not_negative);
  add("--max-prompt", s.max_prompt, "longer prompts, in tokens, are skipped", "Data")->check(positive);
  add("--max-tokens", s.max_tokens, "longest response, sampled or given", "Data")->check(positive);

  add("--recipe", s.recipe, "sft, seq_kd, supervised_kd, imit_kd, f_distill, on_policy_kd or gkd", "Recipe");
  add("--divergence", s.divergence, "in place of the recipe's: reverse_kl, jsd(0.1) ...", "Recipe");
  app.add_option("--lambda", s.lambda, "the student's share of the outputs, of gkd and imit_kd")
      ->group("Recipe");
  add("--temperature", s.temperature, "of sampled outputs", "Recipe")->check(positive);
  add("--loss-temperature", s.loss_temperature, "divides both models' logits in the loss", "Recipe")
      ->check(positive);
  add("--reduction", s.reduction, "mean over sequences or over tokens", "Recipe")
      ->check(CLI::IsMember({"per_sequence", "per_token"}));

  add("--steps", s.steps, "optimizer steps", "Training")->check(positive);
  add("--batch", s.batch_size, "prompts a step", "Training")->check(positive);
  add("--micro-batch", s.micro_batch, "prompts in memory at once; 0: the whole batch", "Training")
      ->check(not_negative);
  add("--rate", s.rate, "learning rate", "Training")->check(positive);
  add("--weight-decay", s.weight_decay, "of adamw", "Training")->check(not_negative);
  add("--clip", s.clip_norm, "largest norm of the gradient", "Training")->check(positive);
  add("--optimizer", s.optimizer, "adamw, adafactor or sgd", "Training")
      ->check(CLI::IsMember({"adamw", "adafactor", "sgd"}));
  add("--schedule", s.schedule, "constant, linear, cosine or inverse_sqrt", "Training")
      ->check(CLI::IsMember({"constant", "linear", "cosine", "inverse_sqrt"}));
  add("--warm-up", s.warm_up, "steps until the full rate", "Training")->check(not_negative);
  add("--evaluate-every", s.evaluate_every, "steps between evaluations and checkpoints", "Training")
      ->check(positive);
  add("--seed", s.seed, "of data order, sampling, dropout and adapters", "Training");

  support::add_device_flags(app, s.device, "Training");

  add("--out", s.out, "folder of the run; one that was cut short is continued", "Output");
  app.add_flag("--fresh", s.fresh, "begin anew: remove the files of the run in --out")->group("Output");
  app.add_option("--export-dtype", s.export_dtype,
                 "of the exported student's weights: F32, BF16 or F16 (default: as --dtype)")
      ->group("Output")
      ->check(CLI::IsMember({"F32", "BF16", "F16"}));
  add("--threads", s.threads, "threads; 0: all cores", "Output")->check(not_negative);

  // Of a value given twice the last one counts, so that scripts can pass defaults.
  for (CLI::Option* option : app.get_options())
    if (option->get_items_expected_max() == 1) option->take_last();
}

}  // namespace distill
