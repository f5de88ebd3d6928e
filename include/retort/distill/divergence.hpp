#pragma once

#include <fmt/format.h>

#include <concepts>
#include <string>
#include <variant>

#include "retort/core/error.hpp"
#include "retort/distill/divergences.hpp"

namespace retort {

/// A divergence is a policy with `term(log_p, log_q)` and `pull(log_p, log_q)`, see divergences.hpp. A user's
/// own is as good as a shipped one.
template <class D>
concept Divergence = requires(const D d, double log_p, double log_q) {
  { d.term(log_p, log_q) } -> std::convertible_to<double>;
  { d.pull(log_p, log_q) } -> std::convertible_to<double>;
};

/// Throws ValueError if a parameter of a policy is outside its range.
template <class Policy>
void require_valid(const Policy& policy) {
  if constexpr (requires { policy.problem(); })
    if (const char* problem = policy.problem()) fail<ValueError>(Policy::name, "{}", problem);
}

/// The shipped divergences, for programs that choose at run time: visit once, outside the loop over rows.
using AnyDivergence = std::variant<ForwardKl, ReverseKl, Jsd, NormalisedJsd, TotalVariation, SkewForwardKl,
                                   SkewReverseKl, SymmetricKl>;

/// `jsd(0.5)`: the name of a policy with its parameters, as run logs show it and `parse_divergence` reads it.
template <class Policy>
[[nodiscard]] std::string describe(const Policy& policy) {
  std::string fields;
  policy.each_field([&](const char*, const auto& value) {
    fields += fmt::format("{}{}", fields.empty() ? "" : ", ", value);
  });
  return fields.empty() ? std::string(Policy::name) : fmt::format("{}({})", Policy::name, fields);
}
[[nodiscard]] inline std::string describe(const AnyDivergence& divergence) {
  return std::visit([](const auto& d) { return describe(d); }, divergence);
}

/// Reads `forward_kl`, `jsd(0.1)`, `skew_reverse_kl(0.2)` ...; without parentheses the parameter has its
/// default. Throws ValueError with the list of names for an unknown one, and for a parameter outside its
/// range.
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
      const std::string number = text.substr(open + 1, text.size() - open - 2);
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
    require_valid(d);
    result = d;
  };
  [&]<class... D>(std::variant<D...>*) { (try_one(D{}), ...); }(static_cast<AnyDivergence*>(nullptr));
  if (!found) fail<ValueError>("divergence", "'{}' is unknown, expected one of {}", text, names);
  return result;
}

}  // namespace retort
