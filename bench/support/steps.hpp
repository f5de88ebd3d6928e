#pragma once

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "floors.hpp"
#include "machine.hpp"
#include "retort/models/decoder_config.hpp"
#include "retort/models/encoder_decoder_families.hpp"
#include "retort/optim/clip.hpp"

/// What the training steps of bench/step have in common.
namespace bench {

/// A measured step.
struct StepRow {
  std::string work;
  double seconds = 0, flops = 0;
  double peak = 0;  ///< of the arithmetic, operations a second, beside the rounds
  nlohmann::json parts = nlohmann::json::object();  ///< seconds of each part
};

/// What the steps are measured with; the defaults are those of the documentation.
struct StepSizes {
  retort::DecoderConfig gpt2{}, distilled{.layers = 6};  ///< GPT-2 124M; with half of its layers, 82M
  int batch = 4, length = 64, long_length = 256;         ///< of the language-model steps
  int prompts = 8, prompt = 28, fresh = 64;              ///< of the on-policy steps

  retort::EncoderDecoderConfig t5_small{};
  int pairs = 8, source = 128, target = 64;  ///< of T5-small's step

  /// The main example's pair (examples/g2p), 549,248 and 23,176 parameters, and its batch; words and
  /// pronunciations as long as the dictionary's are on average, their end token included.
  retort::EncoderDecoderConfig g2p_teacher{.vocabulary = 69,
                                           .width = 96,
                                           .encoder_layers = 3,
                                           .decoder_layers = 2,
                                           .heads = 4,
                                           .head_width = 24,
                                           .hidden = 192,
                                           .buckets = 16,
                                           .max_distance = 24};
  retort::EncoderDecoderConfig g2p_student{.vocabulary = 69,
                                           .width = 24,
                                           .encoder_layers = 2,
                                           .decoder_layers = 1,
                                           .heads = 2,
                                           .head_width = 12,
                                           .hidden = 48,
                                           .buckets = 16,
                                           .max_distance = 24};
  int words = 256, letters = 8, phonemes = 7;

  double clip_norm = 0;  ///< global norm that gradients are clipped at; 0: no clipping

  FloorSizes floors{};
};

/// Toy sizes, which show that the steps work and nothing else.
[[nodiscard]] inline StepSizes tiny_step_sizes() {
  StepSizes s;
  s.gpt2 = {.vocabulary = 101, .positions = 48, .width = 48, .layers = 3, .heads = 4, .hidden = 192};
  s.distilled = s.gpt2;
  s.distilled.layers = 1;
  s.batch = 2, s.length = 8, s.long_length = 16;
  s.prompts = 3, s.prompt = 4, s.fresh = 6;
  s.t5_small = s.g2p_student;
  s.pairs = 2, s.source = 6, s.target = 4;
  s.g2p_teacher.width = 32, s.g2p_teacher.head_width = 8, s.g2p_teacher.hidden = 64;
  s.words = 4;
  s.floors = tiny_floor_sizes();
  return s;
}

/// The arithmetic's peak beside the rounds of a step. The clock of a processor moves within seconds: a step
/// is compared with the median of what was measured after each round. On a GPU it is measured once, before
/// the step: the matrices would count as the step's memory.
template <retort::Backend B>
class PeakBeside {
 public:
  /// From here on the GPU's `peak_bytes` are the step's.
  explicit PeakBeside([[maybe_unused]] const StepSizes& sizes) {
    if constexpr (!on_cpu<B>) {
      peaks_ = {arithmetic_peak<B>(sizes.floors)};
      reset_peak_bytes<B>();
    }
  }
  /// After each round.
  void measure() {
    if constexpr (on_cpu<B>) peaks_.push_back(peak_flops<float>(0.05));
  }
  /// Operations a second.
  [[nodiscard]] double median() const { return bench::median(peaks_); }

 private:
  std::vector<double> peaks_;
};

/// What the gradients are multiplied with so that their norm is at most `clip_norm`; 1 for a clip_norm of 0.
template <retort::Backend B>
[[nodiscard]] double clip_scale(const retort::ParameterList<B>& list, double clip_norm) {
  return clip_norm > 0 ? retort::clip_by_norm(list, clip_norm).scale : 1;
}

/// The sizes' clip_norm as `retort::StepOptions` has it.
[[nodiscard]] inline double clip_option(const StepSizes& sizes) {
  return sizes.clip_norm > 0 ? sizes.clip_norm : std::numeric_limits<double>::infinity();
}

}  // namespace bench
