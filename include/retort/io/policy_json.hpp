#pragma once

#include <fmt/format.h>

#include <cmath>
#include <concepts>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>

#include "retort/core/policy.hpp"
#include "retort/tensor/device.hpp"

/// Policies as JSON, for the configuration of a run and its comparison with a checkpoint's.
namespace retort {

/// Anything that names its values: a policy, or the sizes of a model (which have no name of their own).
template <class P>
concept HasFields = requires(const P policy) {
  policy.each_field(detail::FieldProbe{});
};

template <HasFields P>
[[nodiscard]] nlohmann::json to_json(const P& policy);

namespace detail {

template <class... P>
[[nodiscard]] nlohmann::json choice_json(const std::variant<P...>& choice) {
  return std::visit([](const auto& policy) { return to_json(policy); }, choice);
}

/// One value. A float has the digits that identify it, as its text has; what JSON has no number for is a
/// string.
template <class Value>
[[nodiscard]] nlohmann::json field_json(const Value& value) {
  if constexpr (HasFields<Value>) {
    return to_json(value);
  } else if constexpr (requires { choice_json(value); }) {
    return choice_json(value);
  } else if constexpr (std::floating_point<Value>) {
    if (!std::isfinite(value)) return fmt::format("{}", value);
    if constexpr (std::same_as<Value, double>) return value;
    return std::stod(fmt::format("{}", value));
  } else {
    return nlohmann::json(value);
  }
}

}  // namespace detail

/// {"name": "adamw", "learning_rate": 0.001, ...}; values that are policies, or one of several, are nested.
template <HasFields P>
[[nodiscard]] nlohmann::json to_json(const P& policy) {
  nlohmann::json json = nlohmann::json::object();
  if constexpr (NamedPolicy<P>) json["name"] = P::name;
  policy.each_field([&](const char* field, const auto& value) { json[field] = detail::field_json(value); });
  return json;
}

/// The policy that was chosen at run time.
template <class... P>
[[nodiscard]] nlohmann::json to_json(const std::variant<P...>& choice) {
  return detail::choice_json(choice);
}

/// A model as the configuration of a run describes it: {"family": "llama", "width": 576, ...}, its sizes and
/// what they are the sizes of.
template <class Model>
[[nodiscard]] nlohmann::json model_json(const Model& model) {
  nlohmann::json json = to_json(model.config());
  json["family"] = Model::Family::name;
  return json;
}

/// What a run computes on and in: {"device": "cuda", "dtype": "bfloat16"}.
template <Backend B>
[[nodiscard]] nlohmann::json backend_json() {
  return {{"device", B::Device::name}, {"dtype", scalar_name<typename B::Scalar>()}};
}

/// The first value, in alphabetic order of the paths, in which two configurations differ, as a sentence:
/// `optimizer.learning_rate is 0.001 there and 0.0003 here`. Nothing if they are equal.
[[nodiscard]] inline std::optional<std::string> first_difference(const nlohmann::json& there,
                                                                 const nlohmann::json& here,
                                                                 const std::string& path = "") {
  if (there == here) return std::nullopt;
  const std::string prefix = path.empty() ? "" : path + ".";
  if (there.is_object() && here.is_object()) {
    nlohmann::json all = there;
    all.update(here);
    for (const auto& [key, unused] : all.items()) {
      if (!there.contains(key))
        return fmt::format("{}{} is not set there and {} here", prefix, key, here[key].dump());
      if (!here.contains(key))
        return fmt::format("{}{} is {} there and not set here", prefix, key, there[key].dump());
      if (auto found = first_difference(there[key], here[key], prefix + key)) return found;
    }
  }
  return fmt::format("{} is {} there and {} here", path.empty() ? "it" : path, there.dump(), here.dump());
}

}  // namespace retort
