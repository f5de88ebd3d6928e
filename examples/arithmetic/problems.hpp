#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/philox.hpp"

/// Word problems of two to four steps with worked solutions, in the format of GSM8K (Cobbe et al. 2021).
namespace arithmetic {

/// A question, and a solution whose calculations are annotated as `<<12+7=19>>19` and whose last line is
/// `#### answer`.
struct Problem {
  std::string question, answer;
  friend bool operator==(const Problem&, const Problem&) = default;
};

/// What the generator may write.
struct ProblemLimits {
  int largest = 60;    ///< of the numbers that a story begins with; results grow to about four times as much
  int most_steps = 4;  ///< calculations in a solution, 2 to 4
};

namespace detail {

struct Person {
  std::string_view name, pronoun;
};
inline constexpr std::array<Person, 12> people{{{"Anna", "She"},
                                                {"Ben", "He"},
                                                {"Clara", "She"},
                                                {"David", "He"},
                                                {"Emma", "She"},
                                                {"Frank", "He"},
                                                {"Grace", "She"},
                                                {"Henry", "He"},
                                                {"Ivy", "She"},
                                                {"Jack", "He"},
                                                {"Kate", "She"},
                                                {"Leo", "He"}}};
inline constexpr std::array<std::string_view, 12> things{"apples",  "pencils", "cards",  "stamps",
                                                         "marbles", "books",   "shells", "coins",
                                                         "cookies", "flowers", "eggs",   "stickers"};

/// A problem while it is written: every calculation adds a line to the solution.
class Writer {
 public:
  Writer(retort::RandomKey key, const ProblemLimits& limits) : key_(key), limits_(limits) {
    const int a = number(0, static_cast<int>(people.size()) - 1);
    const int b = number(1, static_cast<int>(people.size()) - 1);
    who = people[static_cast<std::size_t>(a)];
    other = people[static_cast<std::size_t>(a + b) % people.size()];
    thing = things[static_cast<std::size_t>(number(0, static_cast<int>(things.size()) - 1))];
  }

  /// Uniform in [low, high].
  [[nodiscard]] int number(int low, int high) {
    return low + static_cast<int>(key_.uniform(drawn_++) * (high - low + 1));
  }

  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    if (!question_.empty()) question_ += ' ';
    question_ += fmt::format(format, std::forward<Args>(args)...);
  }

  /// The result of `a op b` as a line "who has 12+7=<<12+7=19>>19 apples."; `before` and `after` are the
  /// words around it.
  int calculate(std::string_view before, int a, char op, int b, std::string_view after) {
    const int c = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
    answer_ += fmt::format("{} {}{}{}=<<{}{}{}={}>>{} {}.\n", before, a, op, b, a, op, b, c, c, after);
    ++steps_;
    return c;
  }

  [[nodiscard]] int steps() const { return steps_; }
  [[nodiscard]] const ProblemLimits& limits() const { return limits_; }

  [[nodiscard]] Problem finish(int result) const {
    return {question_, answer_ + fmt::format("#### {}", result)};
  }

  Person who, other;
  std::string_view thing;

 private:
  retort::RandomKey key_;
  ProblemLimits limits_;
  std::uint64_t drawn_ = 0;
  int steps_ = 0;
  std::string question_, answer_;
};

/// Things that come and go: each event changes how many there are.
[[nodiscard]] inline Problem story(Writer& w) {
  const int wanted = w.number(2, w.limits().most_steps);
  int have = w.number(5, w.limits().largest);
  w.say("{} has {} {}.", w.who.name, have, w.thing);
  const auto now = [&](int a, char op, int b) {
    have = w.calculate(fmt::format("{} has", w.who.name), a, op, b, w.thing);
  };
  while (w.steps() < wanted) {
    const int kind = w.number(0, 4);
    if (kind == 0) {
      const int more = w.number(2, w.limits().largest);
      w.say("{} buys {} more {}.", w.who.pronoun, more, w.thing);
      now(have, '+', more);
    } else if (kind == 1 && have > 3) {
      const int fewer = w.number(2, have - 1);
      w.say("{} gives {} {} to {}.", w.who.pronoun, fewer, w.thing, w.other.name);
      now(have, '-', fewer);
    } else if (kind == 2 && have > 3 && have % 2 == 0) {
      w.say("{} loses half of the {}.", w.who.pronoun, w.thing);
      now(have, '/', 2);
    } else if (kind == 3 && w.steps() + 2 <= wanted) {
      const int boxes = w.number(2, 9), each = w.number(2, 9);
      w.say("{} finds {} boxes with {} {} in each.", w.who.pronoun, boxes, each, w.thing);
      const int found = w.calculate("The boxes hold", boxes, '*', each, w.thing);
      now(have, '+', found);
    } else if (kind == 4 && w.steps() + 2 <= wanted) {
      const int days = w.number(2, 9), each = w.number(2, 9);
      w.say("{} gets {} {} a day for {} days.", w.who.pronoun, each, w.thing, days);
      const int got = w.calculate(fmt::format("{} gets", w.who.name), each, '*', days, w.thing);
      now(have, '+', got);
    }
  }
  w.say("How many {} does {} have now?", w.thing, w.who.name);
  return w.finish(have);
}

/// A purchase, and the change.
[[nodiscard]] inline Problem shop(Writer& w) {
  const int price = w.number(2, 9), count = w.number(2, 9);
  w.say("{} buys {} {} for {} dollars each.", w.who.name, count, w.thing, price);
  int cost = w.calculate(fmt::format("The {} cost", w.thing), count, '*', price, "dollars");
  if (w.limits().most_steps > 2 && w.number(0, 1) == 1) {
    const int bag = w.number(2, 20);
    w.say("{} also buys a bag for {} dollars.", w.who.pronoun, bag);
    cost = w.calculate("Together that is", cost, '+', bag, "dollars");
  }
  const int pays = cost + w.number(1, 30);
  w.say("{} pays with {} dollars.", w.who.pronoun, pays);
  const int change = w.calculate("The change is", pays, '-', cost, "dollars");
  w.say("How many dollars does {} get back?", w.who.name);
  return w.finish(change);
}

/// Two people, one of whom has several times as many as the other.
[[nodiscard]] inline Problem comparison(Writer& w) {
  const int first = w.number(3, std::max(4, w.limits().largest / 3)), times = w.number(2, 5);
  w.say("{} has {} {}.", w.who.name, first, w.thing);
  w.say("{} has {} times as many {} as {}.", w.other.name, times, w.thing, w.who.name);
  int second = w.calculate(fmt::format("{} has", w.other.name), first, '*', times, w.thing);
  if (w.limits().most_steps > 2 && w.number(0, 1) == 1) {
    const int fewer = w.number(1, second - 1);
    w.say("Then {} sells {} {}.", w.other.name, fewer, w.thing);
    second = w.calculate(fmt::format("{} has", w.other.name), second, '-', fewer, w.thing);
  }
  int all = w.calculate("Together they have", first, '+', second, w.thing);
  if (w.steps() < w.limits().most_steps && all % 2 == 0 && w.number(0, 1) == 1) {
    w.say("They share all {} equally.", w.thing);
    all = w.calculate("Each of them gets", all, '/', 2, w.thing);
    w.say("How many {} does each of them get?", w.thing);
  } else {
    w.say("How many {} do they have together?", w.thing);
  }
  return w.finish(all);
}

}  // namespace detail

/// Problem `number` of the stream `seed`; the same arguments always give the same problem. Different numbers
/// may give the same one.
[[nodiscard]] inline Problem make_problem(std::uint64_t seed, std::uint64_t number,
                                          const ProblemLimits& limits) {
  detail::Writer writer(retort::RandomKey{seed, 0x61726974}.fork(number), limits);
  const int kind = writer.number(0, 3);
  return kind == 0 ? detail::shop(writer) : kind == 1 ? detail::comparison(writer) : detail::story(writer);
}

/// `count` problems with questions that are all different, the first of the stream `seed`. A longer list
/// begins with a shorter one. ValueError for limits out of range, and if there are not so many problems.
[[nodiscard]] inline std::vector<Problem> make_problems(std::uint64_t seed, int count,
                                                        const ProblemLimits& limits = {}) {
  if (limits.largest < 6 || limits.largest > 1000)
    retort::fail<retort::ValueError>("problems", "the largest number is {}, expected 6 to 1000",
                                     limits.largest);
  if (limits.most_steps < 2 || limits.most_steps > 4)
    retort::fail<retort::ValueError>("problems", "{} steps, expected 2 to 4", limits.most_steps);
  std::vector<Problem> out;
  std::set<std::string> seen;
  int repeated = 0;  // in a row
  for (std::uint64_t number = 0; std::ssize(out) < count; ++number) {
    Problem problem = make_problem(seed, number, limits);
    if (seen.insert(problem.question).second) {
      out.push_back(std::move(problem));
      repeated = 0;
    } else if (++repeated == 1000) {
      retort::fail<retort::ValueError>("problems", "{} different problems were asked for, {} were found",
                                       count, out.size());
    }
  }
  return out;
}

/// What is wrong with a solution: a calculation `<<a op b=c>>` whose result is another or is not repeated
/// behind it, or a last line that is not `#### ` and the last result. Nothing if it is right. For whole
/// numbers and one operation a calculation, as the generator writes them.
[[nodiscard]] inline std::optional<std::string> problem_of_solution(std::string_view answer) {
  const auto whole = [](std::string_view& text) -> std::optional<long> {
    long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{}) return {};
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value;
  };
  std::optional<long> last;
  std::string_view rest = answer;
  while (true) {
    const auto open = rest.find("<<");
    if (open == rest.npos) break;
    rest.remove_prefix(open + 2);
    const auto close = rest.find(">>");
    if (close == rest.npos) return "a calculation has no end";
    const std::string text(rest.substr(0, close));
    std::string_view in = rest.substr(0, close);
    rest.remove_prefix(close + 2);
    const auto a = whole(in);
    const char op = in.empty() ? ' ' : in[0];
    if (!in.empty()) in.remove_prefix(1);
    const auto b = whole(in);
    if (!in.empty()) in.remove_prefix(1);
    const auto c = whole(in);
    if (!a || !b || !c || !in.empty()) return fmt::format("'{}' is no calculation", text);
    const bool right = op == '+'   ? *a + *b == *c
                       : op == '-' ? *a - *b == *c
                       : op == '*' ? *a * *b == *c
                       : op == '/' ? *b != 0 && *c * *b == *a
                                   : false;
    if (!right) return fmt::format("'{}' is wrong", text);
    if (whole(rest) != c) return fmt::format("the result of '{}' is not repeated", text);
    last = c;
  }
  if (!last) return "there is no calculation";
  if (!answer.ends_with(fmt::format("\n#### {}", *last))) return "the last line is not the last result";
  return {};
}

}  // namespace arithmetic
