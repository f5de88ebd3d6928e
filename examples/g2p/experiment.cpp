#include "g2p/experiment.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "retort/training/run.hpp"
#include "support/device.hpp"
#include "support/program.hpp"
#include "support/stopped.hpp"
#include "support/teacher.hpp"

namespace g2p {

namespace {

/// A sample of `count` questions, the same at every call; 0: all. (The dictionary is in the order of the
/// alphabet: its first words are no sample of it.)
Questions sample(const Questions& all, int count) {
  if (count <= 0 || count >= all.words.size()) return all;
  auto chosen = retort::epoch_order(0x776f7264, 0, all.words.size());
  chosen.resize(static_cast<std::size_t>(count));
  std::ranges::sort(chosen);
  Questions out;
  for (const int i : chosen) {
    out.words.push_back(all.words[i]);
    out.references.push_back(all.references[static_cast<std::size_t>(i)]);
  }
  return out;
}

/// Answers to all questions, a few hundred words at a time.
template <class Model, class Sampler>
retort::Sequences answers(const Model& model, const Questions& questions, const Sampler& sampler,
                          const Settings& s) {
  constexpr int at_once = 512;
  retort::Sequences out;
  for (int first = 0; first < questions.words.size(); first += at_once) {
    std::vector<int> rows;
    std::vector<std::uint64_t> ids;
    for (int i = first; i < std::min(questions.words.size(), first + at_once); ++i) {
      rows.push_back(i);
      ids.push_back(static_cast<std::uint64_t>(i));
    }
    const auto part = retort::generate(
        model, questions.words.select(rows), ids, sampler,
        {.max_tokens = s.max_tokens, .end_token = Vocabulary::eos, .key = {s.evaluation_seed, 1}});
    for (int i = 0; i < part.responses.size(); ++i) out.push_back(part.responses[i]);
  }
  return out;
}

/// Some test words with what the model says, greedy and sampled, and a right answer.
template <class Model>
void write_samples(const retort::RunFolder& folder, const Model& model, const Vocabulary& vocabulary,
                   const Questions& test, const Settings& settings, retort::Index step) {
  const Questions some = sample(test, 20);
  const auto greedy = answers(model, some, retort::Greedy{}, settings);
  const auto drawn = answers(model, some, retort::Temperature{1.0}, settings);
  std::string text = fmt::format("{:<16} {:<36} {:<36} {}\n", "word", "greedy", "sampled", "reference");
  for (int i = 0; i < some.words.size(); ++i)
    text += fmt::format("{:<16} {:<36} {:<36} {}\n", vocabulary.decode_word(some.words[i]),
                        vocabulary.decode(greedy[i]), vocabulary.decode(drawn[i]),
                        vocabulary.decode(some.references[static_cast<std::size_t>(i)][0]));
  folder.write_samples(step, text);
}
}  // namespace

template <retort::Backend B>
Experiment<B>::Experiment(const Settings& settings, const Dictionary& dictionary)
    : settings_(settings),
      vocabulary_(dictionary),
      train_(training_pairs(entries_of(dictionary, Part::train), vocabulary_)),
      curve_(sample(questions(entries_of(dictionary, Part::valid), vocabulary_), settings.curve_words)),
      test_(sample(questions(entries_of(dictionary, Part::test), vocabulary_), settings.evaluation_words)) {
  if (train_.empty() || test_.words.empty() || curve_.words.empty())
    retort::fail<retort::FileError>("g2p",
                                    "{} has too few words to split: {} to train, {} to validate, {} to test",
                                    settings.data, train_.size(), curve_.words.size(), test_.words.size());
}

template <retort::Backend B>
Model<B> Experiment<B>::make(const ModelSize& size, std::uint64_t seed) const {
  return Model(size.config(vocabulary_.size(), settings_.dropout, settings_.buckets, settings_.max_distance),
               {seed, 0x696e6974});
}

template <retort::Backend B>
Trained Experiment<B>::run(const std::string& name, const AnyRecipe& recipe, Model& model,
                           const Model* teacher, double rate, retort::Index steps, std::uint64_t seed) const {
  const auto path = std::filesystem::path(settings_.out) / name;
  retort::RunFolder folder(path);
  const retort::RunOptions options{
      .steps = steps,
      .batch_size = settings_.batch_size,
      .micro_batch = settings_.micro_batch,
      .clip_norm = settings_.clip_norm,
      .schedule = schedule_of(settings_, steps),
      .seed = seed,
      .evaluate_every = std::max<retort::Index>(1, steps / settings_.curve_points),
      .checkpoint_every = std::max<retort::Index>(1, steps / settings_.curve_points),
      .label = name};
  const auto evaluate = [&] {
    const Score s = validate(model);
    return nlohmann::json{{"wer", s.wer()}, {"per", s.per()}};
  };
  const nlohmann::json setting{{"data", settings_.data},
                               {"examples", train_.size()},
                               {"phonemes", vocabulary_.phonemes()},
                               {"model", retort::model_json(model)}};
  auto optimizer = support::optimizer_of(settings_.optimizer, rate).on(retort::parameters(model));
  if (settings_.fresh) folder.clear();
  const retort::RunResult result =
      support::with_advice<retort::OtherRunError>(support::other_run_advice, [&] {
        return retort::run_training(folder, recipe, model, teacher, optimizer, train_, options, setting,
                                    evaluate);
      });
  if (result.stopped) throw support::Stopped{};
  write_samples(folder, model, vocabulary_, test_, settings_, steps);
  Trained trained{.seconds = result.seconds};
  for (const auto& e : result.evaluations)
    trained.curve.push_back(
        {e.at("step").get<std::int64_t>(), e.at("seconds").get<double>(), e.at("wer").get<double>()});
  return trained;
}

template <retort::Backend B>
Score Experiment<B>::validate(const Model& model) const {
  return score(answers(model, curve_, retort::Greedy{}, settings_), curve_.references);
}

template <retort::Backend B>
void Experiment<B>::load_teacher(Model& model) const {
  support::load_teacher(settings_.teacher_folder, model, "phonemes", vocabulary_.phonemes());
}

template <retort::Backend B>
void Experiment<B>::evaluate(ResultRow& row, const Model& model, const Model* teacher) const {
  const Score greedy = score(answers(model, test_, retort::Greedy{}, settings_), test_.references);
  const retort::Sequences drawn = answers(model, test_, retort::Temperature{1.0}, settings_);
  const Score sampled = score(drawn, test_.references);
  row.wer_greedy = greedy.wer();
  row.per_greedy = greedy.per();
  row.wer_sampled = sampled.wer();
  row.per_sampled = sampled.per();
  support::leave_if_stopped();
  if (teacher != nullptr)
    row.reverse_kl =
        retort::mean_divergence(retort::ReverseKl{}, model, *teacher, retort::numbered(test_.words, drawn));
  support::leave_if_stopped();
}

template class Experiment<support::CompiledBackend>;

}  // namespace g2p
