#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "retort/core/scalar.hpp"
#include "support/device.hpp"
#include "support/optimizer.hpp"

namespace distill {

/// Every choice of the program.
struct Settings {
  std::string teacher, student;  ///< Hugging Face folders
  std::vector<retort::Index> student_layers, student_encoder_layers;

  std::string teacher_file;   ///< in the teacher's place
  std::string write_teacher;  ///< the teacher's file to write instead of training
  retort::Index teacher_top_k = 50;
  std::string teacher_outputs = "data", teacher_dtype = "F16";

  std::string data, held_out;  ///< JSONL; without held_out the last examples of data are
  std::string prompt_field = "prompt", response_field = "output", format = "{prompt}";
  int held_out_count = 32;
  int most_examples = 0;  ///< to train on; 0: all
  int max_prompt = 256;
  int max_tokens = 128;
  std::string out = "runs/distill";
  bool fresh = false;

  std::string recipe = "gkd", divergence;
  std::optional<double> lambda;
  double temperature = 1, loss_temperature = 1;
  std::string reduction = "per_sequence";

  retort::Index steps = 1000, warm_up = 0, evaluate_every = 50, audit_every = 10;
  int batch_size = 8, micro_batch = 0;
  support::OptimizerChoice optimizer{.adamw = {.beta2 = 0.99, .weight_decay = 0}};
  std::string schedule = "linear";
  double rate = 1e-4, clip_norm = 1;
  std::uint64_t seed = 1;

  retort::Index lora_rank = 0;  ///< 0: the student is trained whole
  double lora_alpha = 16, lora_dropout = 0;
  std::vector<std::string> lora_targets;
  std::vector<std::string> freeze;

  std::optional<std::string> export_dtype;  ///< of the exported student; none: that of the device
  support::Device device;
  int threads = 0;
};

}  // namespace distill
