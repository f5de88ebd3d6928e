#pragma once

#include <concepts>
#include <optional>
#include <vector>

#include "retort/distill/gkd.hpp"
#include "retort/models/encoder_decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/step.hpp"
#include "sequences.hpp"
#include "steps.hpp"

/// Training steps of encoder-decoders, medians of `rounds` after one that does not count.
namespace bench {

/// Operations of a forward pass of batch x (source -> target): encoder weights see the source tokens, decoder
/// weights and head the target tokens; a table that rows are only looked up in counts nothing.
template <class Model>
[[nodiscard]] double forward_flops(Model& model, int batch, int source, int target) {
  double encoder = 0, decoder = 0;
  for (const auto* p : parameters(model)) {
    if (p->name == "shared.weight" && p != model.head().weight) continue;
    const bool in_encoder = p->name.starts_with("encoder.") || p->name.ends_with("cross.kv.weight");
    (in_encoder ? encoder : decoder) += static_cast<double>(p->value.size());
  }
  return 2.0 * batch * (encoder * source + decoder * target);
}

/// T5-small's shape: batch x (source -> target).
template <retort::Backend B>
StepRow t5_small_step(const StepSizes& sizes, int rounds) {
  PeakBeside<B> peak(sizes);
  using Model = retort::EncoderDecoder<B, retort::T5>;
  Model model(sizes.t5_small);
  const auto list = parameters(model);
  auto optimizer = retort::AdamW{}.on(list);
  const retort::Batch data =
      retort::numbered(random_sequences(sizes.pairs, sizes.source, model.vocabulary(), 1),
                       random_sequences(sizes.pairs, sizes.target, model.vocabulary(), 2));
  std::vector<double> total;
  retort::Tape<B> tape;
  for (int r = 0; r < rounds + 1; ++r) {
    const double began = now_on<B>();
    retort::Context<B> context{.tape = &tape, .training = true};
    const auto loss =
        objective_loss(retort::CrossEntropy{}, context, model, static_cast<const Model*>(nullptr), data,
                       retort::Normaliser::of(data.responses));
    tape.backward(loss.value);
    optimizer.step({.gradient_scale = clip_scale(list, sizes.clip_norm)});
    const double ended = now_on<B>();
    if (r > 0) total.push_back(ended - began), peak.measure();
  }
  return {fmt::format("t5-small train step {} x ({} -> {})", sizes.pairs, sizes.source, sizes.target),
          median(total), 3 * forward_flops(model, sizes.pairs, sizes.source, sizes.target), peak.median()};
}

/// A step of the main example by `training_step`: `recipe` trains a model of `trained` sizes, with the
/// example's teacher where it wants one. Samples have as many tokens as the data's pronunciations.
template <retort::Backend B, class Recipe>
StepRow g2p_step(const StepSizes& sizes, const char* what, Recipe recipe,
                 const retort::EncoderDecoderConfig& trained, bool with_teacher, int rounds) {
  PeakBeside<B> peak(sizes);
  using Model = retort::EncoderDecoder<B, retort::T5v11>;
  constexpr bool samples = std::same_as<decltype(recipe.outputs), retort::FromStudent>;
  recipe.max_tokens = sizes.phonemes, recipe.end_token = -1;
  Model model(trained, {1});
  std::optional<Model> teacher;
  if (with_teacher) teacher.emplace(sizes.g2p_teacher, retort::RandomKey{2});
  const Model* asked = teacher ? &*teacher : nullptr;
  auto optimizer = retort::AdamW{}.on(parameters(model));
  const retort::Batch data =
      retort::numbered(random_sequences(sizes.words, sizes.letters, model.vocabulary(), 1),
                       random_sequences(sizes.words, sizes.phonemes, model.vocabulary(), 2));
  std::vector<double> total, sampling;
  for (int r = 0; r < rounds + 1; ++r) {
    const double began = now_on<B>();
    const auto report = training_step(recipe, model, asked, optimizer, data,
                                      {7, static_cast<std::uint64_t>(r)}, {.clip_norm = clip_option(sizes)});
    const double ended = now_on<B>();
    if (r == 0) continue;
    total.push_back(ended - began), sampling.push_back(report.sampling_seconds);
    peak.measure();
  }
  const auto flops = [&](Model& m) { return forward_flops(m, sizes.words, sizes.letters, sizes.phonemes); };
  StepRow row{fmt::format("g2p {} step {} x ({} -> {})", what, sizes.words, sizes.letters, sizes.phonemes),
              median(total), (samples ? 4 : 3) * flops(model) + (teacher ? flops(*teacher) : 0),
              peak.median()};
  if (samples) row.parts = {{"generate", median(sampling)}};
  return row;
}

}  // namespace bench
