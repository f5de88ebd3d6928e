#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "arithmetic/problems.hpp"
#include "retort/models/decoder_config.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/schedules.hpp"
#include "support/device.hpp"
#include "support/flags.hpp"
#include "support/optimizer.hpp"

/// Every choice of the experiment.
namespace arithmetic {

/// The sizes of a decoder that a flag can change.
struct ModelSize {
  retort::Index width, layers, heads, hidden;

  [[nodiscard]] retort::DecoderConfig config(int vocabulary, retort::Index positions, double dropout) const {
    return {.vocabulary = vocabulary,
            .positions = positions,
            .width = width,
            .layers = layers,
            .heads = heads,
            .hidden = hidden,
            .dropout = dropout,
            .attention_bias = false,
            .mlp_bias = false};
  }
};

struct Settings {
  std::string data;  ///< folder of GSM8K's files; empty: generated problems
  std::string out = "runs/arithmetic";
  std::string teacher_folder;  ///< a trained teacher's run folder; empty: train one
  bool quick = false, full = false, fresh = false, ablate = false;

  std::uint64_t data_seed = 1;
  ProblemLimits limits;
  int train_problems = 20000, valid_problems = 200, test_problems = 300;
  int words = 2000;              ///< frequent words that are tokens
  retort::Index positions = 0;   ///< longest prompt and response; 0: 192, and 640 for GSM8K
  retort::Index max_tokens = 0;  ///< longest response; 0: 128, and 320 for GSM8K

  ModelSize teacher{96, 3, 4, 256};
  ModelSize student{40, 2, 2, 96};
  double dropout = 0;

  retort::Index teacher_steps = 4000, sft_steps = 3000, steps = 300;
  int batch_size = 32, micro_batch = 0;
  double teacher_rate = 3e-3, sft_rate = 5e-3, rate = 1e-3;
  retort::AdamW adamw{.beta2 = 0.99};  ///< its learning rate is one of the three
  double clip_norm = 1, warm_up = 0.05;
  std::string schedule = "linear";

  std::vector<std::string> recipes;  ///< empty: all
  std::vector<double> alphas{0, 0.25, 0.5, 0.75, 1};
  int seeds = 1;
  std::uint64_t first_seed = 1;
  double temperature = 1;       ///< of GKD's samples
  int group = 4;                ///< samples of a prompt in RL + GKD
  int phase = 4;                ///< MiniLLM: batches sampled at a time
  int inner_epochs = 2;         ///< MiniLLM: passes over them
  double teacher_mixing = 0.2;  ///< MiniLLM: the teacher's share
  double corpus_weight = 1;     ///< MiniLLM: of L_PT

  int evaluation_problems = 0;  ///< of the test part; 0: all
  int evaluation_seeds = 5;     ///< sampled answers to each
  int curve_problems = 100;     ///< of the validation part, while training
  int curve_points = 4;
  support::Device device;
  int threads = 0;
};

/// The defaults of the short and the full form; flags given beside them win.
inline void apply_form(Settings& s, bool quick, bool full) {
  if (quick) {
    s.limits = {.largest = 20, .most_steps = 3};
    s.teacher_steps = 800;
    s.sft_steps = 1000;
    s.steps = 80;
    s.test_problems = 100;
    s.curve_problems = 50;
    s.curve_points = 2;
  }
  if (full) {
    s.teacher_steps = 6000;
    s.seeds = 3;
  }
}

/// The optimizer with this learning rate.
[[nodiscard]] inline retort::AdamW optimizer_of(const Settings& s, double rate) {
  retort::AdamW adamw = s.adamw;
  adamw.learning_rate = rate;
  return adamw;
}

/// The schedule of a run of so many steps.
[[nodiscard]] inline retort::AnySchedule schedule_of(const Settings& s, retort::Index steps) {
  return support::schedule_of(s.schedule, s.warm_up, steps);
}

/// Throws ValueError, with the names of flags, for what can be known to be wrong before data are read;
/// recipes are checked by `entrants`.
inline void check(const Settings& s) {
  support::require_heads("teacher", s.teacher.width, s.teacher.heads);
  support::require_heads("student", s.student.width, s.student.heads);
  support::require_seeds(s.first_seed, s.seeds);
  support::require_distinct("--recipes", s.recipes);
  support::require_distinct("--alphas", s.alphas);
  for (const auto& [rate, steps] :
       {std::pair{s.teacher_rate, s.teacher_steps}, {s.sft_rate, s.sft_steps}, {s.rate, s.steps}}) {
    retort::check_policy(optimizer_of(s, rate));
    (void)schedule_of(s, steps);
  }
}

/// Fills in what depends on the data.
inline void resolve(Settings& s) {
  if (s.positions == 0) s.positions = s.data.empty() ? 192 : 640;
  if (s.max_tokens == 0) s.max_tokens = s.data.empty() ? 128 : 320;
}

}  // namespace arithmetic
