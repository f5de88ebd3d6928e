#pragma once

#include <algorithm>
#include <concepts>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "g2p/settings.hpp"
#include "g2p/vocabulary.hpp"
#include "retort/distill/gkd.hpp"

/// The recipes that the experiment compares.
namespace g2p {

/// How sampled outputs are drawn.
using Draw = retort::Filters<retort::Temperature, retort::TopK, retort::TopP>;
/// Any recipe, chosen at run time: one type, so that the training loop is compiled once.
using AnyRecipe = retort::Gkd<retort::AnyObjective, retort::AnyOutputs, Draw>;

/// A row of the result table: a recipe with its labels.
struct Entrant {
  std::string recipe;           ///< as the table and the folder name it
  std::string divergence = {};  ///< empty: none
  std::optional<double> lambda = {};
  AnyRecipe how = {};

  /// Name of its run folder.
  [[nodiscard]] std::string folder() const {
    std::string name = recipe;
    if (recipe == "gkd") name += fmt::format("-{}-{:g}", divergence, *lambda);
    std::erase_if(name, [](char c) { return c == ' ' || c == '(' || c == ')'; });
    return name;
  }
  /// Label of its line in the picture.
  [[nodiscard]] std::string label() const {
    return recipe == "gkd" ? fmt::format("gkd {} lambda {:g}", divergence, *lambda) : recipe;
  }
};

/// Turns a recipe of the library, whose choices are types, into one whose choices are values. Those that a
/// recipe does not use keep their defaults: they would change the configuration of a run that they do not
/// change.
template <class Objective, class Outputs>
[[nodiscard]] AnyRecipe as_any(const retort::Gkd<Objective, Outputs>& recipe, const Settings& s) {
  AnyRecipe any;
  any.divergence = recipe.divergence;
  any.outputs = recipe.outputs;
  any.end_token = Vocabulary::eos;
  if (!std::same_as<Outputs, retort::FromData>) {
    any.sampler = Draw({.value = s.temperature}, {.k = s.top_k}, {.p = s.top_p});
    any.max_tokens = s.max_tokens;
  }
  if (!std::same_as<Objective, retort::CrossEntropy>) any.options.temperature = s.loss_temperature;
  any.options.reduction =
      s.reduction == "per_token" ? retort::Reduction::per_token : retort::Reduction::per_sequence;
  return any;
}

/// The list, if all of its recipes' values are in range; ValueError otherwise.
[[nodiscard]] inline std::vector<Entrant> checked(std::vector<Entrant> list) {
  for (const Entrant& entrant : list) retort::check_policy(entrant.how);
  return list;
}

/// The recipes that the settings ask for, in the order of the table. ValueError for a value out of range, and
/// for one that is given twice.
[[nodiscard]] inline std::vector<Entrant> entrants(const Settings& s) {
  namespace r = retort::recipes;
  std::vector<std::string> divergences = s.divergences;
  std::vector<double> lambdas = s.lambdas;
  if (divergences.empty())
    divergences =
        s.full ? std::vector<std::string>{"forward_kl",      "reverse_kl",           "jsd(0.5)",
                                          "total_variation", "skew_forward_kl(0.1)", "skew_reverse_kl(0.1)",
                                          "symmetric_kl"}
               : std::vector<std::string>{"reverse_kl", "jsd(0.5)"};
  if (lambdas.empty()) lambdas = s.full ? std::vector<double>{0, 0.5, 1} : std::vector<double>{1};

  support::require_distinct("--recipes", s.recipes);
  support::require_distinct("--lambdas", lambdas);
  const std::vector<Entrant> named{{"sft", "", {}, as_any(r::sft(), s)},
                                   {"seq_kd", "", {}, as_any(r::seq_kd(), s)},
                                   {"supervised_kd", "forward_kl", 0, as_any(r::supervised_kd(), s)},
                                   {"imit_kd", "forward_kl", 0.5, as_any(r::imit_kd(), s)},
                                   {"f_distill", "total_variation", 0.5, as_any(r::f_distill(), s)},
                                   {"on_policy_kd", "forward_kl", 1, as_any(r::on_policy_kd(), s)}};
  const auto wanted = [&](const std::string& name) {
    return s.recipes.empty() || std::ranges::find(s.recipes, name) != s.recipes.end();
  };
  std::vector<Entrant> list;
  for (const Entrant& e : named)
    if (wanted(e.recipe)) list.push_back(e);
  if (!wanted("gkd")) return checked(std::move(list));
  std::vector<std::string> described;
  for (const std::string& text : divergences) described.push_back(summary(retort::parse_divergence(text)));
  support::require_distinct("--divergences", described);
  for (const std::string& text : divergences) {
    const retort::AnyDivergence divergence = retort::parse_divergence(text);
    for (const double lambda : lambdas) {
      const retort::Mixed mixed{.lambda = lambda};
      retort::check_policy(mixed);
      // Forward KL at lambda 0, 1/2 and 1 has a name of its own, above.
      if (text == "forward_kl" && s.recipes.empty() && (lambda == 0 || lambda == 0.5 || lambda == 1))
        continue;
      AnyRecipe how = as_any(r::gkd(retort::ForwardKl{}, lambda), s);
      how.divergence = retort::as_objective(divergence);
      how.outputs = mixed;
      list.push_back({"gkd", text, lambda, how});
    }
  }
  return checked(std::move(list));
}

}  // namespace g2p
