#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "arithmetic/comparison.hpp"
#include "arithmetic/data.hpp"
#include "arithmetic/recipes.hpp"
#include "arithmetic/report.hpp"
#include "retort/io/run_folder.hpp"
#include "retort/models/decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/run_loop.hpp"

/// Training and evaluating teacher and students.
namespace arithmetic {

template <retort::Backend B>
using Model = retort::Decoder<B, retort::Llama>;

/// What all runs share: where they are, how long they go and how they are evaluated.
struct Plan {
  std::string name;  ///< of the folder below --out
  double rate;       ///< learning rate
  retort::Index steps;
  std::uint64_t seed;
};

/// Data, vocabulary and settings of the experiment, and what is done with them on a backend. The members are
/// compiled in experiment.cpp, evaluate.cpp and, one method of training each, in train_*.cpp.
template <retort::Backend B>
class Experiment {
 public:
  using Model = arithmetic::Model<B>;

  /// Reads or generates the data and prints what was skipped. FileError for files that cannot be used or
  /// have too few problems. `settings` must outlive the experiment.
  explicit Experiment(const Settings& settings);

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }
  [[nodiscard]] const Part& train() const { return train_; }
  [[nodiscard]] const Part& test() const { return test_; }

  /// A model with fresh weights.
  [[nodiscard]] Model make(const ModelSize& size, std::uint64_t seed) const;

  /// Trains `model` in the plan's folder, or continues or just loads what is there. `teacher` may be nullptr
  /// where the recipe needs none. Throws support::Stopped after Ctrl-C.
  [[nodiscard]] Trained run(const Plan& plan, const Entrant& entrant, Model& model,
                            const Model* teacher) const;

  /// Loads the weights of a teacher trained by another run of this program. ValueError if its vocabulary or
  /// its sizes are others.
  void load_teacher(Model& model) const;

  /// Responses of a model to the test problems, sampled at temperature 1.
  [[nodiscard]] retort::Sequences sample(const Model& model, std::uint64_t seed) const;

  /// Fills in the measured columns of a row. Without a teacher (which has drawn `teacher_samples`) those that
  /// compare with it are left out.
  void evaluate(ResultRow& row, const Model& model, const Model* teacher,
                const retort::Sequences& teacher_samples) const;

  /// Share of right greedy answers to the validation problems of the curves.
  [[nodiscard]] double validate(const Model& model) const;

 private:
  retort::RunResult train(const Plan& plan, const AnyGkd& how, Model& model, const Model* teacher) const;
  retort::RunResult train(const Plan& plan, const MiniLlm& how, Model& model, const Model* teacher) const;
  retort::RunResult train(const Plan& plan, const RlGkd& how, Model& model, const Model* teacher) const;

  [[nodiscard]] std::filesystem::path path(const Plan& plan) const;
  [[nodiscard]] retort::RunOptions options(const Plan& plan) const;
  [[nodiscard]] nlohmann::json setting(const Model& model) const;
  [[nodiscard]] std::function<nlohmann::json()> evaluation(const Model& model) const;
  [[nodiscard]] auto optimizer(Model& model, double rate) const {
    return optimizer_of(settings_, rate).on(retort::parameters(model));
  }

  const Settings& settings_;
  Vocabulary vocabulary_{{}};
  Part train_, curve_, test_;
};

}  // namespace arithmetic
