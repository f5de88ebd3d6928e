#include <cmath>

#include "arithmetic/experiment.hpp"
#include "retort/eval/answers.hpp"
#include "retort/eval/calibration.hpp"
#include "retort/eval/exposure.hpp"
#include "retort/eval/repetition.hpp"
#include "support/stopped.hpp"

namespace arithmetic {

namespace {

constexpr int at_once = 128;  // responses in memory

/// Calls f(first, last) for ranges of at most `at_once` examples.
template <class F>
void in_parts(int count, F f) {
  for (int first = 0; first < count; first += at_once) f(first, std::min(count, first + at_once));
}

struct Responses {
  retort::Sequences sequences;
  std::vector<double> probability;  // of each whole response
};

template <class Model, class Sampler>
Responses respond(const Model& model, const retort::Batch& problems, const Sampler& sampler,
                  retort::Index max_tokens, std::uint64_t seed) {
  Responses out;
  in_parts(problems.size(), [&](int first, int last) {
    const retort::Batch part = problems.slice(first, last);
    const auto made = retort::generate(
        model, part.prompts, part.ids, sampler,
        {.max_tokens = max_tokens, .end_token = Vocabulary::end, .key = {20231006, 0x6576616c + seed}});
    std::size_t at = 0;
    for (int i = 0; i < made.responses.size(); ++i) {
      double sum = 0;
      for (int t = 0; t < made.responses.length(i); ++t) sum += made.log_probabilities[at++];
      out.sequences.push_back(made.responses[i]);
      out.probability.push_back(std::min(1.0, std::exp(sum)));
    }
  });
  return out;
}

/// Which responses have the right final answer.
std::vector<std::uint8_t> right_ones(const retort::Sequences& responses, const Part& part,
                                     const Vocabulary& vocabulary) {
  std::vector<std::uint8_t> out;
  for (int i = 0; i < responses.size(); ++i)
    out.push_back(
        retort::same_answer(vocabulary.decode(responses[i]), part.answers[static_cast<std::size_t>(i)]) ? 1
                                                                                                        : 0);
  return out;
}

double share(const std::vector<std::uint8_t>& flags) {
  double sum = 0;
  for (const auto f : flags) sum += f;
  return flags.empty() ? 0 : sum / static_cast<double>(flags.size());
}

/// A divergence of each response token, in their order.
template <class D, class Model>
std::vector<double> divergences(const D& divergence, const Model& student, const Model& teacher,
                                const retort::Sequences& prompts, const retort::Sequences& responses) {
  using B = typename Model::Backend;
  std::vector<double> out;
  const retort::Batch all = retort::numbered(prompts, responses);
  in_parts(all.size(), [&](int first, int last) {
    const retort::Batch part = all.slice(first, last);
    retort::Context<B> silent;
    const auto hidden = student.hidden(silent, part.prompts, part.responses);
    const auto teacher_hidden = teacher.hidden(silent, part.prompts, part.responses);
    const auto weights = retort::row_weights<B>(part.responses, retort::Reduction::per_token,
                                                retort::Normaliser::of(part.responses));
    const auto loss = retort::head_divergence(silent, divergence, student.head(), hidden, teacher.head(),
                                              teacher_hidden.value(), weights);
    out.insert(out.end(), loss.per_row.begin(), loss.per_row.end());
  });
  return out;
}

}  // namespace

template <retort::Backend B>
double Experiment<B>::validate(const Model& model) const {
  const auto said = respond(model, curve_.batch, retort::Greedy{}, settings_.max_tokens, 0);
  return share(right_ones(said.sequences, curve_, vocabulary_));
}

template <retort::Backend B>
retort::Sequences Experiment<B>::sample(const Model& model, std::uint64_t seed) const {
  return respond(model, test_.batch, retort::Temperature{1.0}, settings_.max_tokens, seed).sequences;
}

template <retort::Backend B>
void Experiment<B>::evaluate(ResultRow& row, const Model& model, const Model* teacher,
                             const retort::Sequences& teacher_samples) const {
  const auto greedy = respond(model, test_.batch, retort::Greedy{}, settings_.max_tokens, 0);
  const auto right = right_ones(greedy.sequences, test_, vocabulary_);
  row.accuracy = share(right);
  row.calibration_error = retort::expected_calibration_error(greedy.probability, right);
  retort::Sequences samples;  // of the first seed
  row.accuracy_sampled = 0;
  for (int seed = 0; seed < settings_.evaluation_seeds; ++seed) {
    support::leave_if_stopped();
    const auto drawn = sample(model, 1 + static_cast<std::uint64_t>(seed));
    row.accuracy_sampled += share(right_ones(drawn, test_, vocabulary_)) / settings_.evaluation_seeds;
    if (seed == 0) samples = drawn;
  }
  row.distinct_4 = retort::distinct_ngrams(samples, 4);
  row.repetition = retort::repetition_rate(samples, 4);
  row.length = static_cast<double>(samples.total()) / samples.size();
  support::leave_if_stopped();
  if (teacher == nullptr) return;

  const auto& prompts = test_.batch.prompts;
  const auto reverse = divergences(retort::ReverseKl{}, model, *teacher, prompts, samples);
  row.reverse_kl = 0;
  for (const double kl : reverse) row.reverse_kl += kl / static_cast<double>(reverse.size());
  const auto accumulated = [&](const retort::Sequences& responses) {
    return retort::accumulated_divergence(
        divergences(retort::ForwardKl{}, model, *teacher, prompts, responses), responses.offsets);
  };
  row.excess = retort::excess_accumulated_error(accumulated(samples), accumulated(teacher_samples));
  if (row.excess.empty()) return;
  row.excess_error = row.excess.back();
  row.growth_end = 1 + static_cast<double>(std::ranges::max_element(row.excess) - row.excess.begin());
}

using B = support::CompiledBackend;
template double Experiment<B>::validate(const Model&) const;
template retort::Sequences Experiment<B>::sample(const Model&, std::uint64_t) const;
template void Experiment<B>::evaluate(ResultRow&, const Model&, const Model*, const retort::Sequences&) const;

}  // namespace arithmetic
