#pragma once

#include <string>

#include "distill/settings.hpp"
#include "support/flags.hpp"

namespace distill {

/// The command line of the program.
inline void add_flags(CLI::App& app, Settings& s) {
  const support::FlagGroup models{app, "Models"};
  models.add("--teacher", s.teacher, "Hugging Face folder of the teacher");
  models.add("--student", s.student, "Hugging Face folder of the student, with the teacher's tokenizer");
  models
      .add("--student-layers", s.student_layers,
           "without --student: the teacher's layers it is made of, 0,2,4")
      ->delimiter(',');
  models
      .add("--student-encoder-layers", s.student_encoder_layers,
           "the same for the encoder, where there is one")
      ->delimiter(',');
  models.positive("--lora-rank", s.lora_rank, "train adapters of this rank instead of all weights");
  models.positive("--lora-alpha", s.lora_alpha, "the adapters' products are scaled by alpha / rank");
  models.add("--lora-dropout", s.lora_dropout, "of the adapters' input");
  models
      .add("--lora-targets", s.lora_targets,
           "layers by PEFT's names, q_proj,v_proj; default: all linear ones")
      ->delimiter(',');
  models.add("--freeze", s.freeze, "weights not to train, by patterns of their names: 'token.*'")
      ->delimiter(',');

  const support::FlagGroup offline{app, "Teacher's file"};
  offline.add("--teacher-file", s.teacher_file, "train from this file, in place of --teacher");
  auto* write = offline.add("--write-teacher", s.write_teacher,
                            "write what the teacher says about the data to this file, and end");
  offline
      .positive("--teacher-top-k", s.teacher_top_k, "most probable tokens it keeps at each response token")
      ->needs(write);
  offline
      .one_of("--teacher-outputs", s.teacher_outputs, {"data", "teacher"},
              "whose responses: data, or teacher: its samples")
      ->needs(write);
  offline
      .one_of("--teacher-dtype", s.teacher_dtype, {"F16", "BF16", "F32"},
              "of its log-probabilities: F16, BF16 or F32")
      ->needs(write);

  const support::FlagGroup data{app, "Data"};
  data.add("--data", s.data, "JSONL, one example a line; default: what --teacher-file was made of");
  data.add("--held-out", s.held_out, "JSONL of held-out examples; default: the last of --data");
  data.positive("--held-out-count", s.held_out_count, "how many of them are evaluated");
  data.add("--prompt-field", s.prompt_field, "field with the prompt");
  data.add("--response-field", s.response_field, "field with the response; it may be absent");
  data.add("--template", s.format, "what the model reads, around {prompt}");
  data.not_negative("--examples", s.most_examples, "train on the first so many; 0: all");
  data.positive("--max-prompt", s.max_prompt, "longer prompts, in tokens, are skipped");
  data.positive("--max-tokens", s.max_tokens, "longest response, sampled or given");

  const support::FlagGroup recipe{app, "Recipe"};
  recipe.add("--recipe", s.recipe, "sft, seq_kd, supervised_kd, imit_kd, f_distill, on_policy_kd or gkd");
  recipe.add("--divergence", s.divergence, "in place of the recipe's: reverse_kl, jsd(0.1) ...");
  recipe.add("--lambda", s.lambda, "the student's share of the outputs, of gkd and imit_kd");
  recipe.positive("--temperature", s.temperature, "of sampled outputs");
  recipe.positive("--loss-temperature", s.loss_temperature, "divides both models' logits in the loss");
  recipe.one_of("--reduction", s.reduction, {"per_sequence", "per_token"},
                "mean over sequences or over tokens");

  const support::FlagGroup training{app, "Training"};
  training.positive("--steps", s.steps, "optimizer steps");
  training.positive("--batch", s.batch_size, "prompts a step");
  training.not_negative("--micro-batch", s.micro_batch, "prompts in memory at once; 0: the whole batch");
  training.positive("--rate", s.rate, "learning rate");
  training.positive("--clip", s.clip_norm, "largest norm of the gradient");
  support::add_optimizer_flags(training, s.optimizer);
  training.one_of("--schedule", s.schedule, {"constant", "linear", "cosine", "inverse_sqrt"},
                  "constant, linear, cosine or inverse_sqrt");
  training.not_negative("--warm-up", s.warm_up, "steps until the full rate");
  training.positive("--evaluate-every", s.evaluate_every, "steps between evaluations and checkpoints");
  training.not_negative("--audit-every", s.audit_every,
                        "steps between measurements of divergences and entropies in metrics.jsonl; 0: none");
  training.not_negative("--seed", s.seed, "of data order, sampling, dropout and adapters");
  support::add_device_flags(app, s.device, "Training");

  const support::FlagGroup output{app, "Output"};
  output.add("--out", s.out, "folder of the run; one that was cut short is continued")
      ->check(support::not_empty());
  output.flag("--fresh", s.fresh, "begin anew: remove the files of the run in --out");
  output.one_of("--export-dtype", s.export_dtype, {"F32", "BF16", "F16"},
                "of the exported student's weights: F32, BF16 or F16 (default: as --dtype)");
  output.not_negative("--threads", s.threads, "threads; 0: all cores");
  support::let_last_count(app);
}

}  // namespace distill
