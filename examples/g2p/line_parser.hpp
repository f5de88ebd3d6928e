#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"

/// One line of a pronouncing dictionary, in either of two formats.
namespace g2p {

/// Phonemes in lower case: {"r", "eh", "d"}, with stress {"r", "eh1", "d"}.
using Pronunciation = std::vector<std::string>;

enum class Format {
  cmu,      ///< "READ  R EH1 D", variants "READ(1)  R IY1 D", comments after ";;;" or "#"
  festival  ///< ("read" nil (((r eh d) 1))): syllables, each with its stress
};

/// The first line of festival's file.
inline constexpr std::string_view festival_header = "MNCL";

/// The format of a file by its first line that says anything.
[[nodiscard]] inline Format recognised_format(std::string_view line) {
  return line == festival_header || line.starts_with("(\"") ? Format::festival : Format::cmu;
}

/// Without the white space at both ends (a carriage return counts).
[[nodiscard]] inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n\f\v";
  const auto first = text.find_first_not_of(space);
  return first == text.npos ? std::string_view{}
                            : text.substr(first, text.find_last_not_of(space) - first + 1);
}

/// Foreign bytes for a message: other than printable ASCII as \xNN, and no more than 60 characters of it.
[[nodiscard]] inline std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 60))
    out += c >= ' ' && c <= '~' ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text.size() > 60 ? out + "..." : out;
}

/// Reads a line from left to right; FileError names file, line and what was expected where.
class LineParser {
 public:
  using Result = std::pair<std::string, Pronunciation>;  ///< word in lower case, phonemes

  LineParser(std::string_view line, std::string_view file, int number, bool keep_stress)
      : line_(line), rest_(line), file_(file), number_(number), keep_stress_(keep_stress) {}

  /// ("WORD" POS (((PHONE ...) STRESS) ...))
  [[nodiscard]] Result festival() {
    expect("(\"", "(\" before the word");
    const auto quote = rest_.find('"');
    if (quote == rest_.npos) malformed("\" after the word");
    Result out{lower(rest_.substr(0, quote)), {}};
    rest_.remove_prefix(quote + 1);
    if (atom().empty()) malformed("a part of speech, such as nil");
    expect("(", "( before the syllables");
    do {
      syllable(out.second);
      skip_space();
    } while (rest_.starts_with('('));
    expect("))", "another syllable or )) at the end");
    skip_space();
    if (!rest_.empty()) malformed("nothing more");
    return out;
  }

  /// WORD  PHONE PHONE ...
  [[nodiscard]] Result cmu() {
    if (const auto comment = rest_.find(" #"); comment != rest_.npos)
      rest_ = trimmed(rest_.substr(0, comment));
    std::string_view word = rest_.substr(0, rest_.find_first_of(" \t"));
    rest_.remove_prefix(word.size());
    Result out{lower(without_variant(word)), {}};
    do {
      skip_space();
      out.second.push_back(phoneme(rest_.substr(0, rest_.find_first_of(" \t"))));
    } while (!rest_.empty());
    return out;
  }

 private:
  // ((PHONE ...) STRESS)
  void syllable(Pronunciation& phonemes) {
    expect("((", "(( before a syllable's phonemes");
    const auto first = static_cast<std::ptrdiff_t>(phonemes.size());
    do {
      skip_space();
      phonemes.push_back(phoneme(rest_.substr(0, rest_.find_first_of(" \t()"))));
      skip_space();
    } while (!rest_.starts_with(')') && !rest_.empty());
    expect(")", ") after a syllable's phonemes");
    const std::string_view stress = atom();
    if (stress != "0" && stress != "1" && stress != "2")
      malformed("a syllable's stress, 0, 1 or 2", stress.size());
    expect(")", ") after a syllable's stress");
    if (!keep_stress_) return;
    for (auto p = phonemes.begin() + first; p != phonemes.end(); ++p)
      if (is_vowel(*p)) *p += stress;
  }

  // Consumes `symbol`: letters, and in cmudict's format a digit of stress.
  std::string phoneme(std::string_view symbol) {
    auto name = symbol;
    if (!name.empty() && name.back() >= '0' && name.back() <= '2') name.remove_suffix(1);
    if (name.empty() ||
        !std::ranges::all_of(name, [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }))
      malformed("a phoneme, such as AH or AH0");
    rest_.remove_prefix(symbol.size());
    return lower(keep_stress_ ? symbol : name);
  }

  // A word between blanks and brackets; empty if there is none.
  std::string_view atom() {
    skip_space();
    const auto text = rest_.substr(0, rest_.find_first_of(" \t()\""));
    rest_.remove_prefix(text.size());
    return text;
  }

  void expect(std::string_view token, std::string_view what) {
    for (const char c : token) {
      skip_space();
      if (!rest_.starts_with(c)) malformed(what);
      rest_.remove_prefix(1);
    }
  }

  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size())); }

  // "READ" of "READ(1)".
  static std::string_view without_variant(std::string_view word) {
    if (!word.ends_with(')')) return word;
    const auto open = word.rfind('(');
    if (open == word.npos || open == 0 || open + 2 >= word.size()) return word;
    const auto number = word.substr(open + 1, word.size() - open - 2);
    return number.find_first_not_of("0123456789") == number.npos ? word.substr(0, open) : word;
  }

  static bool is_vowel(std::string_view phoneme) {
    constexpr std::array<std::string_view, 16> vowels{"aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh",
                                                      "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"};
    return std::ranges::find(vowels, phoneme) != vowels.end();
  }

  static std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
  }

  // `back`: how many characters before the present place the trouble begins.
  [[noreturn]] void malformed(std::string_view expected, std::size_t back = 0) const {
    const std::size_t column = line_.size() - rest_.size() - back;
    const auto found = line_.substr(column);
    retort::fail<retort::FileError>(
        "dictionary", "{}:{}: expected {} at column {}, found {}", file_, number_, expected, column + 1,
        found.empty() ? "the end of the line" : fmt::format("'{}'", printable(found)));
  }

  std::string_view line_;
  std::string_view rest_;  // of line_, not read yet
  std::string_view file_;
  int number_;
  bool keep_stress_;
};

}  // namespace g2p
