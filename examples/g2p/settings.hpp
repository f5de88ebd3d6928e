#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "retort/models/encoder_decoder.hpp"
#include "retort/optim/schedules.hpp"
#include "support/device.hpp"
#include "support/optimizer.hpp"

/// Every choice of the experiment.
namespace g2p {

/// The sizes of a model that a flag can change.
struct ModelSize {
  retort::Index width, encoder_layers, decoder_layers, heads, hidden;

  [[nodiscard]] retort::EncoderDecoderConfig config(int vocabulary, double dropout, retort::Index buckets,
                                                    retort::Index max_distance) const {
    return {.vocabulary = vocabulary,
            .width = width,
            .encoder_layers = encoder_layers,
            .decoder_layers = decoder_layers,
            .heads = heads,
            .head_width = heads > 0 ? width / heads : 0,
            .hidden = hidden,
            .buckets = buckets,
            .max_distance = max_distance,
            .dropout = dropout};
  }
};

struct Settings {
  std::string data = "/usr/share/festival/dicts/cmu/cmudict-0.4.out";
  std::string out = "runs/g2p";
  std::string teacher_folder;  ///< a trained teacher's run folder; empty: train one
  bool quick = false, full = false, fresh = false;

  ModelSize teacher{96, 3, 2, 4, 192};
  ModelSize student{24, 2, 1, 2, 48};
  double dropout = 0.0;
  retort::Index buckets = 16, max_distance = 24;  ///< of relative positions
  int most_letters = 30, most_phonemes = 30;      ///< longer words and pronunciations are skipped

  retort::Index teacher_steps = 1500, sft_steps = 600, steps = 600;
  int batch_size = 256, micro_batch = 0;
  support::OptimizerChoice optimizer;
  std::string schedule = "linear";
  double teacher_rate = 3e-3, sft_rate = 1e-2, rate = 5e-3;
  double clip_norm = 1.0;
  double warm_up = 0.05;  ///< share of the steps in which the rate rises

  std::vector<std::string> recipes, divergences;
  std::vector<double> lambdas;
  int seeds = 1;
  std::uint64_t first_seed = 1;
  double temperature = 1.0;       ///< of sampling
  retort::Index top_k = 0;        ///< of sampling; 0: all tokens
  double top_p = 1.0;             ///< of sampling; 1: all tokens
  double loss_temperature = 1.0;  ///< of the loss
  std::string reduction = "per_sequence";
  int max_tokens = 24;

  int evaluation_words = 2000;               ///< of the test part; 0: all
  std::uint64_t evaluation_seed = 20240507;  ///< of sampled answers
  int curve_words = 500;                     ///< of the validation part, while training
  int curve_points = 6;
  support::Device device;
  int threads = 0;
};

/// The defaults of the short and the full form; flags given beside them win.
inline void apply_form(Settings& s, bool quick, bool full) {
  if (quick) {
    s.teacher_steps = 450;
    s.sft_steps = 300;
    s.steps = 300;
  }
  if (full) {
    s.seeds = 3;
    s.evaluation_words = 0;
  }
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
  for (const auto& [rate, steps] :
       {std::pair{s.teacher_rate, s.teacher_steps}, {s.sft_rate, s.sft_steps}, {s.rate, s.steps}}) {
    (void)support::optimizer_of(s.optimizer, rate);
    (void)schedule_of(s, steps);
  }
}

}  // namespace g2p
