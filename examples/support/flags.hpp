#pragma once

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "retort/core/error.hpp"

/// Flags of a program: numbers with a range, groups of flags with their defaults, and checks of their values.
namespace support {

namespace detail {

template <class T>
struct number_of {
  using type = T;
};
template <class T>
struct number_of<std::optional<T>> {
  using type = T;
};

/// Refuses what `fits` does not accept and what is no number of type T: not finite, too large, or followed by
/// something else. `expected` ends the sentence "must be a number ...".
template <class T, class Fits>
CLI::Validator number(const std::string& expected, const std::string& description, Fits fits) {
  const auto check = [=](std::string& text) -> std::string {
    T value{};
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    if (std::integral<T> && read.ec == std::errc::result_out_of_range && read.ptr == end)
      return fmt::format("must lie between {} and {}, given {}", std::numeric_limits<T>::min(),
                         std::numeric_limits<T>::max(), text);
    bool good = read.ec == std::errc() && read.ptr == end && fits(value);
    if constexpr (std::floating_point<T>) good = good && std::isfinite(value);
    return good ? ""
                : fmt::format("must be a {}number {}, given {}", std::integral<T> ? "whole " : "", expected,
                              text);
  };
  return CLI::Validator(check, description);
}

}  // namespace detail

/// Accepts finite numbers above 0: "--rate: must be a number above 0, given abc".
template <class T>
[[nodiscard]] CLI::Validator above_zero() {
  return detail::number<T>("above 0", "POSITIVE", [](T value) { return value > 0; });
}

/// Accepts finite numbers from 0 on.
template <class T>
[[nodiscard]] CLI::Validator not_negative() {
  return detail::number<T>("not below 0", "NONNEGATIVE", [](T value) { return value >= 0; });
}

/// Accepts finite numbers of either sign.
template <class T>
[[nodiscard]] CLI::Validator finite() {
  return detail::number<T>("that is finite", "NUMBER", [](T) { return true; });
}

/// Accepts numbers from `low` to `high`.
template <class T>
[[nodiscard]] CLI::Validator between(T low, T high) {
  return detail::number<T>(fmt::format("from {} to {}", low, high), fmt::format("[{} - {}]", low, high),
                           [=](T value) { return value >= low && value <= high; });
}

/// Accepts any text but none.
[[nodiscard]] inline CLI::Validator not_empty() {
  return CLI::Validator(
      [](std::string& text) { return std::string(text.empty() ? "must not be empty" : ""); }, "");
}

/// Adds flags of one group of --help, shown with their defaults.
struct FlagGroup {
  CLI::App& app;
  std::string name = "Options";

  template <class T>
  CLI::Option* add(const std::string& flag, T& value, const std::string& text) const {
    CLI::Option* option = app.add_option(flag, value, text)->group(name);
    if constexpr (!std::same_as<T, std::optional<typename detail::number_of<T>::type>>)
      option->capture_default_str();
    return option;
  }
  template <class T>
  CLI::Option* positive(const std::string& flag, T& value, const std::string& text) const {
    return add(flag, value, text)->check(above_zero<typename detail::number_of<T>::type>());
  }
  template <class T>
  CLI::Option* not_negative(const std::string& flag, T& value, const std::string& text) const {
    return add(flag, value, text)->check(support::not_negative<typename detail::number_of<T>::type>());
  }
  template <class T>
  CLI::Option* number(const std::string& flag, T& value, const std::string& text) const {
    return add(flag, value, text)->check(finite<typename detail::number_of<T>::type>());
  }
  template <class T>
  CLI::Option* in(const std::string& flag, T& value, double low, double high, const std::string& text) const {
    using Number = typename detail::number_of<T>::type;
    return add(flag, value, text)->check(between(static_cast<Number>(low), static_cast<Number>(high)));
  }
  template <class T>
  CLI::Option* one_of(const std::string& flag, T& value, const std::vector<std::string>& names,
                      const std::string& text) const {
    return add(flag, value, text)->check(CLI::IsMember(names));
  }
  CLI::Option* flag(const std::string& flag, bool& value, const std::string& text) const {
    return app.add_flag(flag, value, text)->group(name);
  }
};

/// Of a value given twice the last one counts, so that scripts can pass defaults.
inline void let_last_count(CLI::App& app) {
  for (CLI::Option* option : app.get_options())
    if (option->get_items_expected_max() == 1) option->take_last();
}

/// Whether the command line sets a flag (a wrong one does not; reading all flags says what is wrong with it):
/// for flags that change the defaults of others.
[[nodiscard]] inline bool has_flag(int argc, char** argv, const std::string& flag) {
  CLI::App app;
  bool value = false;
  app.set_help_flag();
  app.allow_extras();
  app.add_flag(flag, value)->take_last();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError&) {
    return false;
  }
  return value;
}

/// Throws ValueError if two of the values have the same name, which their runs and rows would share:
/// "[flags] --lambdas: 0.5 is given twice".
inline void require_distinct(const char* flag, const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (names[i] == names[j])
        retort::fail<retort::ValueError>("flags", "{}: {} is given twice", flag, names[i]);
}
inline void require_distinct(const char* flag, const std::vector<double>& values) {
  std::vector<std::string> names;
  for (const double value : values) names.push_back(fmt::format("{:g}", value + 0.0));  // no -0
  require_distinct(flag, names);
}

/// Throws ValueError unless `count` seeds from `first` on exist.
inline void require_seeds(std::uint64_t first, int count) {
  constexpr auto largest = std::numeric_limits<std::uint64_t>::max();
  if (count < 1 || first > largest - static_cast<std::uint64_t>(count - 1))
    retort::fail<retort::ValueError>("flags", "--first-seed {} with --seeds {} goes beyond {}", first, count,
                                     largest);
}

/// Throws ValueError, with the names of the flags --WHO-width and --WHO-heads, unless heads divide the width.
inline void require_heads(const char* who, std::int64_t width, std::int64_t heads) {
  if (heads < 1 || width % heads != 0)
    retort::fail<retort::ValueError>("flags", "--{0}-width {1} does not divide into --{0}-heads {2}", who,
                                     width, heads);
}

}  // namespace support
