#pragma once

#include <optional>
#include <string>
#include <vector>

#include "g2p/settings.hpp"

/// The recipes that the experiment compares.
namespace g2p {

/// Any recipe, chosen at run time: one type, so that the training loop is compiled once.
using AnyRecipe = retort::Gkd<retort::AnyObjective, retort::AnyOutputs, retort::Temperature>;

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

/// Turns a recipe of the library, whose choices are types, into one whose choices are values.
template <class Recipe>
[[nodiscard]] AnyRecipe as_any(const Recipe& recipe, const Settings& s) {
  AnyRecipe any;
  any.divergence = recipe.divergence;
  any.outputs = recipe.outputs;
  any.sampler = {.value = s.temperature};
  any.max_tokens = s.max_tokens;
  any.end_token = 1;
  any.options.temperature = s.loss_temperature;
  any.options.reduction =
      s.reduction == "per_token" ? retort::Reduction::per_token : retort::Reduction::per_sequence;
  return any;
}

/// The recipes that the settings ask for, in the order of the table.
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
  if (!wanted("gkd")) return list;
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
  return list;
}

}  // namespace g2p
