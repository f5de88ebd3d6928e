#include "retort/eval/edit_distance.hpp"

#include <random>
#include <span>
#include <string>
#include <string_view>

#include "catch.hpp"

using namespace retort;
using namespace std::string_view_literals;

namespace {
// The definition, by recursion.
int by_definition(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return static_cast<int>(a.size() + b.size());
  const int substituted = by_definition(a.substr(1), b.substr(1)) + (a[0] == b[0] ? 0 : 1);
  return std::min({substituted, by_definition(a.substr(1), b) + 1, by_definition(a, b.substr(1)) + 1});
}
}  // namespace

TEST_CASE("edit distances worked out by hand") {
  CHECK(edit_distance(""sv, ""sv) == 0);
  CHECK(edit_distance("abc"sv, "abc"sv) == 0);
  CHECK(edit_distance(""sv, "abc"sv) == 3);
  CHECK(edit_distance("abc"sv, ""sv) == 3);
  CHECK(edit_distance("kitten"sv, "sitting"sv) == 3);
  CHECK(edit_distance("saturday"sv, "sunday"sv) == 3);
  CHECK(edit_distance("ab"sv, "ba"sv) == 2);  // no transpositions
  CHECK(edit_distance("aaaa"sv, "aa"sv) == 2);
}

TEST_CASE("edit distance equals its recursive definition on random words") {
  std::mt19937 random(5);
  const auto word = [&] {
    std::string out(random() % 7, ' ');
    for (char& c : out) c = static_cast<char>('a' + random() % 3);
    return out;
  };
  for (int i = 0; i < 300; ++i) {
    const std::string a = word(), b = word();
    CAPTURE(a, b);
    CHECK(edit_distance(a, b) == by_definition(a, b));
    CHECK(edit_distance(a, b) == edit_distance(b, a));
  }
}

TEST_CASE("edit distance takes spans of tokens and lists of words") {
  const std::vector<int> a{3, 1, 4, 1, 5}, b{3, 4, 1, 5, 9};
  CHECK(edit_distance(std::span<const int>(a), std::span<const int>(b)) == 2);
  const std::vector<std::string> spoken{"r", "eh", "d"}, other{"r", "iy", "d"};
  CHECK(edit_distance(spoken, other) == 1);
}
