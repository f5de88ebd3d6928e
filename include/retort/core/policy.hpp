#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <concepts>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "retort/core/error.hpp"

/// What every policy (optimizer, schedule, divergence, sampler, ...) can say about itself, and choosing one
/// by its name at run time.
namespace retort {

namespace detail {
struct FieldProbe {
  template <class Value>
  void operator()(const char*, const Value&) const {}
};
}  // namespace detail

/// An aggregate of values with a `static constexpr const char* name` and `each_field(f)`, which calls
/// f("learning_rate", learning_rate) for each of them: numbers or lists of them, bools, strings or
/// policies. A policy whose values can be wrong also has `problem()`: a sentence about what is wrong, or
/// nullptr.
template <class P>
concept NamedPolicy = requires(const P policy) {
  { P::name } -> std::convertible_to<const char*>;
  policy.each_field(detail::FieldProbe{});
};

template <NamedPolicy P>
[[nodiscard]] std::string summary(const P& policy);
template <NamedPolicy... P>
[[nodiscard]] std::string summary(const std::variant<P...>& choice);

namespace detail {

/// A policy's value as `summary` shows it.
template <class Value>
[[nodiscard]] std::string value_text(const Value& value) {
  if constexpr (requires { summary(value); })
    return summary(value);
  else if constexpr (std::ranges::range<Value> && !std::convertible_to<const Value&, std::string_view>)
    return fmt::format("{}", fmt::join(value, " "));
  else if constexpr (fmt::is_formattable<Value>::value)
    return fmt::format("{}", value);
  else
    return "custom";  // a user's policy without a name
}

}  // namespace detail

/// `adamw(learning_rate 0.001, beta1 0.9, ...)`: the name of a policy and all its values.
template <NamedPolicy P>
[[nodiscard]] std::string summary(const P& policy) {
  std::string fields;
  policy.each_field([&](const char* field, const auto& value) {
    fields += fmt::format("{}{} {}", fields.empty() ? "" : ", ", field, detail::value_text(value));
  });
  return fields.empty() ? std::string(P::name) : fmt::format("{}({})", P::name, fields);
}
/// The same of the policy that was chosen.
template <NamedPolicy... P>
[[nodiscard]] std::string summary(const std::variant<P...>& choice) {
  return std::visit([](const auto& policy) { return summary(policy); }, choice);
}

/// Throws ValueError if a value of the policy, if it has a `problem()`, is outside its range: `[jsd] beta
/// must lie between 0 and 1; given jsd(beta 1.5)`.
template <class P>
void check_policy(const P& policy) {
  if constexpr (requires { policy.problem(); }) {
    const char* problem = policy.problem();
    if (problem == nullptr) return;
    if constexpr (requires { summary(policy); })
      fail<ValueError>(P::name, "{}; given {}", problem, summary(policy));
    else
      fail<ValueError>(P::name, "{}", problem);
  }
}

/// The alternative of a variant of policies that is called `name`, with its default values. Throws ValueError
/// with the list of names for an unknown one: `[schedule] 'cosin' is unknown, expected one of constant, ...`.
template <class Variant>
[[nodiscard]] Variant choose_policy(std::string_view kind, std::string_view name) {
  return []<NamedPolicy... P>(std::string_view what, std::string_view wanted,
                              std::type_identity<std::variant<P...>>) {
    Variant choice;
    const bool found = ((wanted == P::name && (choice = P{}, true)) || ...);
    if (!found) {
      std::string names;
      ((names += (names.empty() ? "" : ", ") + std::string(P::name)), ...);
      fail<ValueError>(what, "'{}' is unknown, expected one of {}", wanted, names);
    }
    return choice;
  }
  (kind, name, std::type_identity<Variant>{});
}

}  // namespace retort
