#pragma once

#include <algorithm>
#include <concepts>
#include <string>
#include <variant>
#include <vector>

#include "arithmetic/settings.hpp"
#include "arithmetic/vocabulary.hpp"
#include "retort/distill/gkd.hpp"
#include "retort/distill/minillm.hpp"
#include "retort/distill/rl_gkd.hpp"

/// The recipes that the experiment compares.
namespace arithmetic {

/// Any recipe of GKD's, chosen at run time: one type, so that its training loop is compiled once.
using AnyGkd = retort::Gkd<retort::AnyObjective, retort::AnyOutputs, retort::Temperature>;
using MiniLlm = retort::MiniLlm<>;
using RlGkd = retort::RlGkd<>;

/// A row of the result table: a recipe with the name that the table and its run folder have.
struct Entrant {
  std::string name;
  std::variant<AnyGkd, MiniLlm, RlGkd> how;
};

/// Turns a recipe of the library, whose choices are types, into one whose choices are values. One that
/// samples nothing keeps the defaults of sampling: its run does not depend on them.
template <class Objective, class Outputs>
[[nodiscard]] AnyGkd as_any(const retort::Gkd<Objective, Outputs>& recipe, const Settings& s) {
  AnyGkd any;
  any.divergence = recipe.divergence;
  any.outputs = recipe.outputs;
  any.end_token = Vocabulary::end;
  if (std::same_as<Outputs, retort::FromData>) return any;
  any.sampler = {.value = s.temperature};
  any.max_tokens = s.max_tokens;
  return any;
}

/// One of MiniLLM's settings with the values that flags choose.
[[nodiscard]] inline MiniLlm with_flags(MiniLlm how, const Settings& s) {
  how.sampling.alpha = s.teacher_mixing;
  how.corpus_weight = s.corpus_weight;
  how.max_tokens = s.max_tokens;
  how.end_token = Vocabulary::end;
  return how;
}

/// MiniLLM as in the paper, and without one of its parts each. What is left without the single-step term is
/// the undivided policy gradient.
[[nodiscard]] inline std::vector<Entrant> ablations(const Settings& s) {
  const MiniLlm paper = with_flags(retort::minillm::paper(), s);
  MiniLlm no_length = paper, no_mixing = paper, no_single = paper;
  no_length.returns.length_normalised = false;
  no_mixing.sampling.alpha = 0;
  no_single.single_step = 0;
  no_single.returns.own_reward = true;
  return {{"minillm_paper", paper},
          {"no_length_normalisation", no_length},
          {"no_teacher_mixing", no_mixing},
          {"no_single_step", no_single}};
}

/// All recipes, in the order of the table.
[[nodiscard]] inline std::vector<Entrant> comparison_of_recipes(const Settings& s) {
  namespace r = retort::recipes;
  std::vector<Entrant> list{{"kd", as_any(r::supervised_kd(), s)},
                            {"seq_kd", as_any(r::seq_kd(), s)},
                            {"imit_kd", as_any(r::imit_kd(), s)},
                            {"gkd_forward_kl", as_any(r::gkd(retort::ForwardKl{}, 1), s)},
                            {"gkd_reverse_kl", as_any(r::gkd(retort::ReverseKl{}, 1), s)},
                            {"gkd_jsd", as_any(r::gkd(retort::Jsd{0.5}, 1), s)},
                            {"minillm_paper", with_flags(retort::minillm::paper(), s)},
                            {"minillm_reference", with_flags(retort::minillm::reference(), s)}};
  for (const double alpha : s.alphas)
    list.push_back(
        {fmt::format("rl_gkd_{:g}", alpha),
         RlGkd{.alpha = alpha, .group = s.group, .max_tokens = s.max_tokens, .end_token = Vocabulary::end}});
  return list;
}

/// The recipes that the settings ask for. ValueError for a value out of range, or if there is none.
[[nodiscard]] inline std::vector<Entrant> entrants(const Settings& s) {
  std::vector<Entrant> list = s.ablate ? ablations(s) : comparison_of_recipes(s);
  if (!s.recipes.empty())
    std::erase_if(list, [&](const Entrant& e) {
      return std::ranges::none_of(s.recipes, [&](const std::string& wanted) {
        return e.name == wanted || (wanted == "rl_gkd" && e.name.starts_with("rl_gkd_"));
      });
    });
  if (list.empty()) retort::fail<retort::ValueError>("recipes", "none of --recipes is among those to run");
  for (const Entrant& e : list) std::visit([](const auto& how) { retort::check_policy(how); }, e.how);
  if (s.batch_size % s.group != 0)
    retort::fail<retort::ValueError>("recipes", "a batch of {} does not divide into groups of {}",
                                     s.batch_size, s.group);
  return list;
}

}  // namespace arithmetic
