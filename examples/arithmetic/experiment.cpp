#include "arithmetic/experiment.hpp"

#include <cmath>
#include <fstream>

#include "retort/io/checkpoint.hpp"
#include "retort/io/policy_json.hpp"
#include "support/program.hpp"
#include "support/stopped.hpp"
#include "support/teacher.hpp"

namespace arithmetic {

template <retort::Backend B>
Experiment<B>::Experiment(const Settings& settings) : settings_(settings) {
  if (settings.max_tokens >= settings.positions)
    retort::fail<retort::ValueError>(
        "arithmetic", "responses of up to {} tokens leave no room for a prompt: the models have {} positions",
        settings.max_tokens, settings.positions);
  const Texts texts = settings.data.empty()
                          ? generated_texts(settings.data_seed, settings.train_problems,
                                            settings.valid_problems, settings.test_problems, settings.limits)
                          : gsm8k_texts(settings.data, settings.valid_problems);
  vocabulary_ = Vocabulary::of(texts.train, settings.words);
  Skipped skipped;
  const auto part = [&](const std::vector<Problem>& problems, int most) {
    return tokens_of(problems, vocabulary_, settings.positions, settings.max_tokens, skipped, most);
  };
  train_ = part(texts.train, 0);
  curve_ = part(texts.valid, settings.curve_problems);
  test_ = part(texts.test, settings.evaluation_problems);
  fmt::print("{}: {} problems to train on, {} to validate, {} to test; vocabulary of {}\n",
             settings.data.empty() ? "generated" : settings.data, train_.batch.size(), curve_.batch.size(),
             test_.batch.size(), vocabulary_.size());
  const auto tell = [](int count, const char* why) {
    if (count > 0) fmt::print("skipped {} problems {}\n", count, why);
  };
  tell(texts.repeated, "whose question was there already");
  tell(skipped.unknown, "with characters that are no tokens");
  tell(skipped.too_long, "with solutions longer than --max-tokens");
  tell(skipped.no_room, "whose prompt leaves no room for --max-tokens within --positions");
  if (train_.batch.empty() || curve_.batch.empty() || test_.batch.empty())
    retort::fail<retort::FileError>("arithmetic",
                                    "too few problems fit: {} to train, {} to validate, {} to test",
                                    train_.batch.size(), curve_.batch.size(), test_.batch.size());
}

template <retort::Backend B>
Model<B> Experiment<B>::make(const ModelSize& size, std::uint64_t seed) const {
  return Model(size.config(vocabulary_.size(), settings_.positions, settings_.dropout), {seed, 0x696e6974});
}

template <retort::Backend B>
Trained Experiment<B>::run(const Plan& plan, const Entrant& entrant, Model& model,
                           const Model* teacher) const {
  if (settings_.fresh) retort::RunFolder(path(plan)).clear();
  const retort::RunResult result =
      support::with_advice<retort::OtherRunError>(support::other_run_advice, [&] {
        return std::visit([&](const auto& how) { return train(plan, how, model, teacher); }, entrant.how);
      });
  if (result.stopped) throw support::Stopped{};
  Trained out{.seconds = result.seconds};
  for (const auto& e : result.evaluations)
    out.curve.push_back(
        {e.at("step").get<std::int64_t>(), e.at("step").get<double>(), e.at("accuracy").get<double>()});
  return out;
}

template <retort::Backend B>
std::filesystem::path Experiment<B>::path(const Plan& plan) const {
  return std::filesystem::path(settings_.out) / plan.name;
}

template <retort::Backend B>
retort::RunOptions Experiment<B>::options(const Plan& plan) const {
  const retort::Index part = std::max<retort::Index>(1, plan.steps / settings_.curve_points);
  return {.steps = plan.steps,
          .batch_size = settings_.batch_size,
          .micro_batch = settings_.micro_batch,
          .clip_norm = settings_.clip_norm,
          .schedule = schedule_of(settings_, plan.steps),
          .seed = plan.seed,
          .evaluate_every = part,
          .checkpoint_every = part,
          .label = plan.name};
}

template <retort::Backend B>
nlohmann::json Experiment<B>::setting(const Model& model) const {
  return {{"examples", train_.batch.size()},
          {"words", vocabulary_.words()},
          {"model", retort::model_json(model)}};
}

template <retort::Backend B>
std::function<nlohmann::json()> Experiment<B>::evaluation(const Model& model) const {
  return [this, &model] { return nlohmann::json{{"accuracy", validate(model)}}; };
}

template <retort::Backend B>
void Experiment<B>::load_teacher(Model& model) const {
  support::load_teacher(settings_.teacher_folder, model, "words", vocabulary_.words());
}

template class Experiment<support::CompiledBackend>;

}  // namespace arithmetic
