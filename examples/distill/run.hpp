#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "distill/models.hpp"
#include "distill/recipe.hpp"
#include "retort/io/teacher_file.hpp"
#include "retort/text/tokenizer.hpp"

namespace distill {

/// What one run needs.
template <retort::Backend B>
struct Task {
  const Settings& settings;
  const retort::Tokenizer& tokenizer;
  const Model<B>* teacher;                  ///< nullptr: there is its file
  const retort::TeacherFile* teacher_file;  ///< nullptr: there is the teacher
  Model<B>& student;
  AnyRecipe recipe;
  retort::Batch train, held_out;
  bool has_references;     ///< the held-out examples have responses
  nlohmann::json setting;  ///< what a checkpoint must agree with, beyond recipe and settings of training
};

/// One evaluation on the held-out examples, in nats a token.
struct CurvePoint {
  retort::Index step = 0;
  std::optional<double> reverse_kl;  ///< with the teacher: exact KL(student || teacher) on student's samples
  std::optional<double> divergence;  ///< from its file: the recipe's, on the examples' responses
  std::optional<double> cross_entropy;  ///< of the examples' responses
};

struct Outcome {
  bool stopped = false;
  double seconds = 0;             ///< of training steps
  std::vector<CurvePoint> curve;  ///< from step 0 on
};

/// Trains the student in the run folder, which it continues if it was begun, and writes samples of before and
/// after.
template <retort::Backend B>
Outcome run(Task<B>& task);

}  // namespace distill
