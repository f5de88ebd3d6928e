#pragma once

#include <concepts>
#include <string>
#include <variant>

#include "retort/core/policy.hpp"
#include "retort/distill/divergences.hpp"

namespace retort {

/// A divergence is a policy with `term(log_p, log_q)` and `pull(log_p, log_q)`, see divergences.hpp. A user's
/// own is as good as a shipped one.
template <class D>
concept Divergence = requires(const D d, double log_p, double log_q) {
  { d.term(log_p, log_q) } -> std::convertible_to<double>;
  { d.pull(log_p, log_q) } -> std::convertible_to<double>;
};

/// The shipped divergences, for programs that choose at run time: visit once, outside the loop over rows.
using AnyDivergence = std::variant<ForwardKl, ReverseKl, Jsd, NormalisedJsd, TotalVariation, SkewForwardKl,
                                   SkewReverseKl, SymmetricKl>;

/// Reads `forward_kl`, `jsd(0.1)`, `skew_reverse_kl(0.2)` ..., or what `summary` prints, `jsd(beta 0.1)`;
/// without parentheses the parameter has its default. Throws ValueError with the list of names for an unknown
/// one, and for a parameter outside its range.
[[nodiscard]] inline AnyDivergence parse_divergence(const std::string& text) {
  const auto open = text.find('(');
  const std::string name = text.substr(0, open);
  std::string names;
  AnyDivergence result;
  bool found = false;
  const auto try_one = [&]<class D>(D d) {
    names += (names.empty() ? "" : ", ") + std::string(D::name);
    if (name != D::name) return;
    found = true;
    if (open != std::string::npos) {
      std::string number = text.substr(open + 1, text.size() - open - 2);
      d.each_field([&](const std::string& field, const auto&) {
        if (number.starts_with(field + " ")) number.erase(0, field.size() + 1);
      });
      std::size_t used = 0;
      double value = 0;
      try {
        value = std::stod(number, &used);
      } catch (const std::exception&) {
      }
      if (text.back() != ')' || number.empty() || used != number.size())
        fail<ValueError>("divergence", "'{}' is not of the form {}(NUMBER)", text, name);
      if constexpr (requires { d.beta; })
        d.beta = value;
      else if constexpr (requires { d.alpha; })
        d.alpha = value;
      else
        fail<ValueError>("divergence", "{} takes no parameter, '{}' was given", name, text);
    }
    check_policy(d);
    result = d;
  };
  [&]<class... D>(std::variant<D...>*) { (try_one(D{}), ...); }(static_cast<AnyDivergence*>(nullptr));
  if (!found) fail<ValueError>("divergence", "'{}' is unknown, expected one of {}", text, names);
  return result;
}

}  // namespace retort
