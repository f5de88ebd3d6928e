#pragma once

#include <string>
#include <vector>

#include "g2p/comparison.hpp"
#include "g2p/dictionary.hpp"
#include "g2p/metrics.hpp"
#include "g2p/recipes.hpp"
#include "g2p/report.hpp"
#include "g2p/vocabulary.hpp"

/// Training and evaluating teacher and students.
namespace g2p {

template <retort::Backend B>
using Model = retort::EncoderDecoder<B, retort::T5v11>;

/// A finished training run.
struct Trained {
  double seconds = 0;                           ///< of training steps
  std::vector<support::CurvePoint> curve = {};  ///< evaluations on validation words on the way
};

/// Data, vocabulary and settings of the experiment, and what is done with them on a backend. Its members are
/// compiled in experiment.cpp, once for each backend.
template <retort::Backend B>
class Experiment {
 public:
  using Model = g2p::Model<B>;

  /// FileError if the dictionary has too few words to split. `settings` must outlive the experiment.
  Experiment(const Settings& settings, const Dictionary& dictionary);

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }
  [[nodiscard]] const retort::Batch& train() const { return train_; }
  [[nodiscard]] const Questions& test() const { return test_; }

  /// A model with fresh weights.
  [[nodiscard]] Model make(const ModelSize& size, std::uint64_t seed) const;

  /// Trains `model` in folder `name` below --out, or continues or just loads what is there. `teacher` may be
  /// nullptr where the recipe needs none.
  Trained run(const std::string& name, const AnyRecipe& recipe, Model& model, const Model* teacher,
              double rate, retort::Index steps, std::uint64_t seed) const;

  /// Greedy answers to the validation words of the curves.
  [[nodiscard]] Score validate(const Model& model) const;
  /// Number of the words that it asks.
  [[nodiscard]] int curve_words() const { return curve_.words.size(); }

  /// Loads the weights of a teacher trained by another run of this program. ValueError if its vocabulary or
  /// its sizes are others.
  void load_teacher(Model& model) const;

  /// Fills in the measured columns of a row; the reverse KL if there is a teacher.
  void evaluate(ResultRow& row, const Model& model, const Model* teacher) const;

 private:
  const Settings& settings_;
  Vocabulary vocabulary_;
  retort::Batch train_;
  Questions curve_, test_;
};

}  // namespace g2p
