#pragma once

#include <vector>

#include "retort/distill/gkd.hpp"
#include "retort/distill/minillm.hpp"
#include "retort/models/decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/minillm_step.hpp"
#include "retort/training/step.hpp"
#include "sequences.hpp"
#include "steps.hpp"

/// Training steps of decoders, medians of `rounds` after one that does not count.
namespace bench {

/// Language-model training of a decoder: batch x length tokens, next-token cross-entropy, AdamW.
template <retort::Backend B>
StepRow decoder_step(const StepSizes& sizes, int batch, int length, int rounds) {
  PeakBeside<B> peak(sizes);
  using Model = retort::Decoder<B>;
  Model model(sizes.gpt2);
  const auto list = parameters(model);
  auto optimizer = retort::AdamW{}.on(list);
  // A prompt of one token: every other token is predicted.
  const retort::Batch data = retort::numbered(random_sequences(batch, 1, model.vocabulary(), 1),
                                              random_sequences(batch, length, model.vocabulary(), 2));
  std::vector<double> total, forward, backward, update;
  retort::Tape<B> tape;
  for (int r = 0; r < rounds + 1; ++r) {
    const double t0 = now_on<B>();
    retort::Context<B> context{.tape = &tape, .training = true};
    const auto loss =
        objective_loss(retort::CrossEntropy{}, context, model, static_cast<const Model*>(nullptr), data,
                       retort::Normaliser::of(data.responses));
    const double t1 = now_on<B>();
    tape.backward(loss.value);
    const double t2 = now_on<B>();
    optimizer.step({.gradient_scale = clip_scale(list, sizes.clip_norm)});
    const double t3 = now_on<B>();
    if (r == 0) continue;
    peak.measure();
    total.push_back(t3 - t0), forward.push_back(t1 - t0), backward.push_back(t2 - t1),
        update.push_back(t3 - t2);
  }
  StepRow row{fmt::format("gpt2-124M train step {} x {}", batch, length), median(total),
              6.0 * static_cast<double>(parameter_count(list)) * batch * length};
  row.peak = peak.median();
  row.parts = {
      {"forward and head", median(forward)}, {"backward", median(backward)}, {"update", median(update)}};
  return row;
}

/// One on-policy GKD step and its shares: student of 6 layers, teacher of 12, JSD(0.5), AdamW.
template <retort::Backend B>
StepRow gkd_step(const StepSizes& sizes, int rounds) {
  PeakBeside<B> peak(sizes);
  retort::Decoder<B> teacher(sizes.gpt2), student(sizes.distilled);
  const auto list = parameters(student);
  auto optimizer = retort::AdamW{}.on(list);
  const int batch = sizes.prompts;
  const retort::Index vocabulary = student.vocabulary();
  const retort::Batch prompts = retort::numbered(random_sequences(batch, sizes.prompt, vocabulary, 1),
                                                 random_sequences(batch, 1, vocabulary, 2));
  std::vector<double> total, sampling, student_part, teacher_part, update;
  retort::Tape<B> tape;
  retort::Index tokens = 0;
  for (int r = 0; r < rounds + 1; ++r) {
    const double t0 = now_on<B>();
    retort::Batch data = prompts;
    data.responses = generate(student, prompts.prompts, prompts.ids, retort::Temperature{},
                              {.max_tokens = sizes.fresh,
                               .end_token = static_cast<std::int32_t>(vocabulary - 1),
                               .key = {7, static_cast<std::uint64_t>(r)}})
                         .responses;
    tokens = data.responses.total();
    const double t1 = now_on<B>();
    retort::Context<B> silent;
    const auto teacher_hidden = teacher.hidden(silent, data.prompts, data.responses);
    const double t2 = now_on<B>();
    retort::Context<B> context{.tape = &tape, .training = true};
    const auto weights = retort::row_weights<B>(data.responses, retort::Reduction::per_sequence,
                                                retort::Normaliser::of(data.responses));
    const auto hidden = student.hidden(context, data.prompts, data.responses);
    const auto loss = head_divergence(context, retort::Jsd{0.5}, student.head(), hidden, teacher.head(),
                                      teacher_hidden.value(), weights);
    tape.backward(loss.value);
    const double t3 = now_on<B>();
    optimizer.step({.gradient_scale = clip_scale(list, sizes.clip_norm)});
    const double t4 = now_on<B>();
    if (r == 0) continue;
    peak.measure();
    total.push_back(t4 - t0), sampling.push_back(t1 - t0), teacher_part.push_back(t2 - t1);
    student_part.push_back(t3 - t2), update.push_back(t4 - t3);
  }
  const double ns = static_cast<double>(parameter_count(list)),
               nt = static_cast<double>(parameter_count(parameters(teacher)));
  const double all = static_cast<double>(batch) * sizes.prompt + static_cast<double>(tokens);
  StepRow row{
      fmt::format("on-policy GKD step {} x ({} + {}), 82M from 124M", batch, sizes.prompt, sizes.fresh),
      median(total), 2 * ns * all + 2 * nt * all + 6 * ns * all};
  row.peak = peak.median();
  row.parts = {{"generate", median(sampling)},
               {"teacher", median(teacher_part)},
               {"student and both heads", median(student_part)},
               {"update", median(update)}};
  return row;
}

/// One MiniLLM step (the paper's setting, teacher-mixed sampling) beside one on-policy GKD step on as many
/// tokens, in turns, same models as `gkd_step`.
template <retort::Backend B>
StepRow minillm_row(const StepSizes& sizes, int rounds) {
  PeakBeside<B> peak(sizes);
  retort::Decoder<B> teacher(sizes.gpt2), student(sizes.distilled);
  const auto list = parameters(student);
  auto optimizer = retort::AdamW{.learning_rate = 1e-6}.on(list);
  const int batch = sizes.prompts;
  const retort::Index vocabulary = student.vocabulary();
  const auto end_token = static_cast<std::int32_t>(vocabulary - 1);
  const retort::Batch prompts = retort::numbered(random_sequences(batch, sizes.prompt, vocabulary, 1),
                                                 random_sequences(batch, 1, vocabulary, 2));
  const retort::Gkd<retort::ReverseKl, retort::FromStudent> gkd{.max_tokens = sizes.fresh,
                                                                .end_token = end_token};
  retort::MiniLlm<> minillm = retort::minillm::paper();
  minillm.corpus = retort::CorpusLoss::none;
  std::vector<double> of_gkd, decoding, sampling, update, total;
  retort::Index tokens = 0;
  for (int r = 0; r < rounds + 1; ++r) {
    const retort::RandomKey key{7, static_cast<std::uint64_t>(r)};
    const retort::GenerateOptions options{.max_tokens = sizes.fresh, .end_token = end_token, .key = key};
    const double t0 = now_on<B>();
    (void)training_step(gkd, student, &teacher, optimizer, prompts, key);
    const double t1 = now_on<B>();
    (void)generate(teacher, prompts.prompts, prompts.ids, retort::Temperature{}, options);
    const double t2 = now_on<B>();
    const retort::Rollouts rollouts = roll_out(student, teacher, prompts, minillm.sampling, options);
    tokens = rollouts.samples.responses.total();
    const double t3 = now_on<B>();
    (void)minillm_step(minillm, student, teacher, optimizer, rollouts, nullptr, key);
    const double t4 = now_on<B>();
    if (r == 0) continue;
    peak.measure();
    of_gkd.push_back(t1 - t0), decoding.push_back(t2 - t1), sampling.push_back(t3 - t2);
    update.push_back(t4 - t3), total.push_back(t4 - t2);
  }
  const double ns = static_cast<double>(parameter_count(list)),
               nt = static_cast<double>(parameter_count(parameters(teacher)));
  const double all = static_cast<double>(batch) * sizes.prompt + static_cast<double>(tokens);
  StepRow row{fmt::format("MiniLLM step {} x ({} + {}), 82M from 124M", batch, sizes.prompt, sizes.fresh),
              median(total), 2 * ns * all + 4 * nt * all + 6 * ns * all};
  row.peak = peak.median();
  row.parts = {{"mixed sampling", median(sampling)},
               {"update", median(update)},
               {"for comparison: GKD step", median(of_gkd)},
               {"for comparison: the teacher's decoding", median(decoding)}};
  return row;
}

}  // namespace bench
