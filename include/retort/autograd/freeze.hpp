#pragma once

#include <algorithm>
#include <string_view>

#include "retort/autograd/parameter.hpp"

/// Which weights of a model are trained: a frozen one gets no gradient, and no optimizer changes it.
namespace retort {

/// Whether a name fits a pattern, in which `*` stands for any text and `?` for one character.
[[nodiscard]] constexpr bool matches_pattern(std::string_view name, std::string_view pattern) {
  // After a mismatch the last star takes one character more.
  std::size_t n = 0, p = 0, star = pattern.npos, resumed = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, resumed = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++n, ++p;
    } else if (star != pattern.npos) {
      p = star + 1, n = ++resumed;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

/// Freezes all weights.
template <Backend B>
void freeze(const ParameterList<B>& parameters) {
  for (auto* p : parameters) p->trainable = false;
}

/// Freezes the weights whose names fit the pattern, `block.0.*` say, and returns how many parameters they
/// are. ValueError if there are none: the message has some names.
template <Backend B>
Index freeze(const ParameterList<B>& parameters, std::string_view pattern) {
  Index count = 0;
  for (auto* p : parameters)
    if (matches_pattern(p->name, pattern)) p->trainable = false, ++count;
  if (count > 0) return count;
  std::string some;
  for (std::size_t i = 0; i < std::min<std::size_t>(parameters.size(), 8); ++i)
    some += (i == 0 ? "" : ", ") + parameters[i]->name;
  fail<ValueError>("freeze", "no parameter fits '{}'; there are {}, such as {}", pattern, parameters.size(),
                   some);
}

/// Number of weights that are not frozen.
template <Backend B>
[[nodiscard]] Index trainable_count(const ParameterList<B>& parameters) {
  Index n = 0;
  for (const auto* p : parameters)
    if (p->trainable) n += p->value.size();
  return n;
}

}  // namespace retort
