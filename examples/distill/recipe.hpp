#pragma once

#include <string>
#include <vector>

#include "distill/settings.hpp"
#include "retort/distill/gkd.hpp"
#include "retort/generate/first_tokens.hpp"
#include "retort/text/vocabulary.hpp"

namespace distill {

/// Draws tokens that the tokenizer has, at a temperature, or the most probable one (top-k 1).
using Draw = retort::Filters<retort::FirstTokens, retort::Temperature, retort::TopK>;
/// Any recipe, chosen at run time: one type, so that the training loop is compiled once.
using AnyRecipe = retort::Gkd<retort::AnyObjective, retort::AnyOutputs, Draw>;

/// The recipe that the settings name, for responses of `tokens` different tokens that any of `ends` ends.
/// ValueError for an unknown recipe or divergence, with the list of known ones, and for a choice that a
/// recipe does not have.
[[nodiscard]] inline AnyRecipe recipe_of(const Settings& s, retort::Index tokens,
                                         const std::vector<retort::TokenId>& ends) {
  namespace r = retort::recipes;
  using retort::fail, retort::ValueError;
  AnyRecipe any;
  std::string known;
  bool found = false;
  const auto offer = [&](const char* name, const auto& recipe) {
    known += (known.empty() ? "" : ", ") + std::string(name);
    if (s.recipe != name) return;
    found = true;
    any.divergence = recipe.divergence;
    any.outputs = recipe.outputs;
  };
  offer("sft", r::sft());
  offer("seq_kd", r::seq_kd());
  offer("supervised_kd", r::supervised_kd());
  offer("imit_kd", r::imit_kd());
  offer("f_distill", r::f_distill());
  offer("on_policy_kd", r::on_policy_kd());
  offer("gkd", r::gkd(retort::Jsd{}, 0.5));
  if (!found) fail<ValueError>("recipe", "'{}' is unknown, expected one of {}", s.recipe, known);

  if (!s.divergence.empty()) {
    if (std::holds_alternative<retort::CrossEntropy>(any.divergence))
      fail<ValueError>("recipe", "{} has no divergence, '{}' was given", s.recipe, s.divergence);
    any.divergence = retort::as_objective(retort::parse_divergence(s.divergence));
  }
  if (s.lambda) {
    auto* mixed = std::get_if<retort::Mixed>(&any.outputs);
    if (mixed == nullptr) fail<ValueError>("recipe", "{} has no lambda, {} was given", s.recipe, *s.lambda);
    mixed->lambda = *s.lambda;
    retort::check_policy(*mixed);
  }
  any.sampler = Draw(retort::FirstTokens{tokens}, retort::Temperature{s.temperature}, {});
  any.max_tokens = s.max_tokens;
  if (!ends.empty()) {
    any.end_token = ends.front();
    any.more_end_tokens.assign(ends.begin() + 1, ends.end());
  }
  any.options.temperature = s.loss_temperature;
  any.options.reduction =
      s.reduction == "per_token" ? retort::Reduction::per_token : retort::Reduction::per_sequence;
  return any;
}

/// A recipe that samples no response while it trains, as one from a teacher's file.
using DataRecipe = retort::Gkd<retort::AnyObjective, retort::FromData, Draw>;
[[nodiscard]] inline DataRecipe from_data(const AnyRecipe& r) {
  return {.divergence = r.divergence,
          .sampler = r.sampler,
          .max_tokens = r.max_tokens,
          .end_token = r.end_token,
          .more_end_tokens = r.more_end_tokens,
          .options = r.options};
}

/// Whether a recipe learns from the data's responses, at least in some steps.
[[nodiscard]] inline bool needs_responses(const AnyRecipe& recipe) {
  return recipe.outputs.choose(1.0) == retort::Source::data;
}

}  // namespace distill
