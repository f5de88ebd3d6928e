#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>

/// Final answers of worked solutions, as GSM8K marks them (Cobbe et al. 2021).
namespace retort {

namespace detail {

/// The number at the start of `text` with thousands' commas left out, and how many characters it takes.
struct NumberRead {
  double value = 0;
  std::size_t length = 0;  ///< 0: there is none
};

[[nodiscard]] inline NumberRead number_at(std::string_view text) {
  std::size_t i = 0;
  std::string digits;
  if (i < text.size() && text[i] == '-') digits.push_back(text[i++]);
  if (i < text.size() && text[i] == '$') ++i;
  const std::size_t first = digits.size();
  bool point = false;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    const bool digit_follows = i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '9';
    if (c >= '0' && c <= '9')
      digits.push_back(c);
    else if (c == '.' && !point && digit_follows)
      digits.push_back(c), point = true;
    else if (!(c == ',' && !point && digits.size() > first && digit_follows))
      break;
  }
  NumberRead out;
  if (digits.size() == first) return out;
  if (digits[first] == '.') digits.insert(first, "0");
  std::from_chars(digits.data(), digits.data() + digits.size(), out.value);
  out.length = i;
  return out;
}

}  // namespace detail

/// The number after the last `####`, or else the last number of the text; commas between digits and $ are
/// dropped. None if there is no number.
[[nodiscard]] inline std::optional<double> final_answer(std::string_view text) {
  if (const auto mark = text.rfind("####"); mark != std::string_view::npos) {
    auto rest = text.substr(mark + 4);
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(" \t")));
    if (const auto read = detail::number_at(rest); read.length > 0) return read.value;
  }
  std::optional<double> last;
  for (std::size_t i = 0; i < text.size();) {
    const auto read = detail::number_at(text.substr(i));
    if (read.length > 0) last = read.value;
    i += std::max<std::size_t>(1, read.length);
  }
  return last;
}

/// Whether two texts have the same final answer, as numbers. A text without one is never right.
[[nodiscard]] inline bool same_answer(std::string_view a, std::string_view b) {
  const auto x = final_answer(a), y = final_answer(b);
  return x && y && std::abs(*x - *y) <= 1e-6 * std::max(1.0, std::abs(*y));
}

}  // namespace retort
