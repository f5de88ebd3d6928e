// The parts below a tokenizer: UTF-8, patterns, tables.
#include <algorithm>
#include <random>
#include <set>
#include <unordered_map>

#include "catch.hpp"
#include "retort/text/base64.hpp"
#include "retort/text/byte_level.hpp"
#include "retort/text/characters.hpp"
#include "retort/text/flat_map.hpp"
#include "retort/text/pre_tokenizers.hpp"
#include "retort/text/word_cache.hpp"

using namespace retort;

namespace {

std::string utf8_of(char32_t code) {
  std::string text;
  utf8::append(text, code);
  return text;
}
bool is_scalar(char32_t code) {
  return code < 0xD800 || (code > 0xDFFF && code <= 0x10FFFF);
}

// The characters that `pattern`, which matches one character, finds in a text of all Unicode.
std::set<char32_t> matched(const char* pattern) {
  static const std::string all = [] {
    std::string text;
    for (char32_t code = 0; code <= 0x10FFFF; ++code)
      if (is_scalar(code)) utf8::append(text, code);
    return text;
  }();
  std::set<char32_t> found;
  Regex(std::string(pattern)).for_each(all, [&](std::size_t begin, std::size_t) {
    found.insert(utf8::first(std::string_view(all).substr(begin)).code);
  });
  return found;
}

std::vector<std::string> pieces_of(const pre_tokenizers::Split& split, std::string text) {
  pre_tokenizers::Pieces pieces{std::move(text), {}, true};
  pieces.ranges.push_back({0, pieces.text.size()});
  split(pieces);
  std::vector<std::string> out;
  for (const auto& range : pieces.ranges) out.emplace_back(pieces[range]);
  return out;
}

}  // namespace

TEST_CASE("every character goes to UTF-8 and back, surrogates and overlong forms are no UTF-8") {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (!is_scalar(code)) continue;
    const auto text = utf8_of(code);
    const auto back = utf8::first(text);
    if (!back.valid || back.code != code || back.size != text.size())
      FAIL("at " << static_cast<unsigned>(code));
  }
  for (const char* wrong :
       {"\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF"})
    CHECK_FALSE(utf8::first(wrong).valid);
}

TEST_CASE("broken UTF-8 is replaced by longest parts, as Unicode 15 shows in its table 3-8") {
  const std::string r(utf8::replacement_bytes);
  CHECK(utf8::repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") == r + r + r + r + r + r + r + r + "A");
  CHECK(utf8::repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41") == r + r + r + r + r + r + r + r + "A");
  CHECK(utf8::repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42") == r + r + r + r + r + "A" + r + r + "B");
  CHECK(utf8::repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == r + r + r + r + "A");
  CHECK(utf8::repaired("h\xC3\xA9") == "h\xC3\xA9");
}

TEST_CASE("white space in patterns is Unicode's White_Space, not PCRE2's") {
  // PropList.txt of Unicode 15.
  std::set<char32_t> expected = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  for (char32_t c = 9; c <= 13; ++c) expected.insert(c);
  for (char32_t c = 0x2000; c <= 0x200A; ++c) expected.insert(c);
  CHECK(matched("\\s") == expected);
  CHECK(matched("[\\s]") == expected);
  for (const char32_t c : {0x180E, 0x200B, 0x200D, 0xFEFF, 0x2060}) CHECK(matched("[^\\s]").contains(c));
  CHECK(matched("\\S").size() + expected.size() == 0x110000 - 0x800);
  for (char32_t code = 0; code <= 0x10FFFF; ++code)
    if (is_scalar(code) && is_white_space(code) != expected.contains(code))
      FAIL("at " << static_cast<unsigned>(code));
}

TEST_CASE(
    "word characters are letters, marks, decimal digits and connectors, decimal digits those of all "
    "scripts") {
  for (const char* word : {"a", "_", "\u203F", "\u0301", "\u0967", "\u24D0", "\u4E2D"}) CHECK(is_word(word));
  for (const char* other : {" ", "-", "\u00B2", "\u2460", "\U0001F642"}) CHECK_FALSE(is_word(other));
  const auto digits = matched("\\d");
  CHECK(digits.contains(0x0967));
  CHECK_FALSE(digits.contains(0x00B2));
}

TEST_CASE("what PCRE2 would read otherwise than Oniguruma is refused or translated") {
  for (const char* pattern :
       {"\\h",    "\\R",           "\\X",         "\\b",   "\\1",     "a{1,2}+", "a{,2}",
        "[a[b]]", "[a&&b]",        "[[:alpha:]]", "(?m)a", "(?<n>a)", "(*UTF)a", "\\p{L",
        "\\pL",   "\\p{Nonsense}", "(",           "[a",    "\\",      "\xFF"})
    CHECK_THROWS_AS(Regex(pattern), ValueError);
  CHECK(matched("\\v") == std::set<char32_t>{0x0B});
  // U+30FC belongs to several scripts by its extensions, to Common by its property.
  CHECK_FALSE(matched("\\p{Hiragana}").contains(0x30FC));
  CHECK(matched("\\p{^L}") == matched("\\P{L}"));
  CHECK(matched("(?i:k)") == std::set<char32_t>{'K', 'k', 0x212A});
}

TEST_CASE("a literal pattern matches its text alone") {
  const std::string text = "a.b*[x]\\{1,2}(?:y)^$|+#&~-\u2581";
  std::vector<std::pair<std::size_t, std::size_t>> found;
  Regex::literal(text).for_each("--" + text + "--" + text,
                                [&](auto begin, auto end) { found.emplace_back(begin, end); });
  CHECK(found == std::vector<std::pair<std::size_t, std::size_t>>{{2, 2 + text.size()},
                                                                  {4 + text.size(), 4 + 2 * text.size()}});
}

TEST_CASE("a pattern that needs much stack still matches a long text") {
  const Regex regex("(?:a|b)+c");
  const std::string text = std::string(300'000, 'a') + "c";
  std::size_t size = 0;
  regex.for_each(text, [&](std::size_t begin, std::size_t end) { size = end - begin; });
  CHECK(size == text.size());
}

TEST_CASE("what becomes of matches, by behavior") {
  using pre_tokenizers::Behavior;
  using Strings = std::vector<std::string>;
  const auto cut = [](Behavior behavior, bool invert = false) {
    return pieces_of({Regex("-"), behavior, invert}, "the-final--countdown");
  };
  // The examples of the Hugging Face documentation of Split.
  CHECK(cut(Behavior::removed) == Strings{"the", "final", "countdown"});
  CHECK(cut(Behavior::isolated) == Strings{"the", "-", "final", "-", "-", "countdown"});
  CHECK(cut(Behavior::merged_with_previous) == Strings{"the-", "final-", "-", "countdown"});
  CHECK(cut(Behavior::merged_with_next) == Strings{"the", "-final", "-", "-countdown"});
  CHECK(cut(Behavior::contiguous) == Strings{"the", "-", "final", "--", "countdown"});
  CHECK(cut(Behavior::removed, true) == Strings{"-", "-", "-"});
  CHECK(pieces_of({Regex("-"), Behavior::merged_with_next}, "a--") == Strings{"a", "-", "-"});
  CHECK(pieces_of({Regex("-"), Behavior::merged_with_previous}, "--a") == Strings{"-", "-", "a"});
}

TEST_CASE("bytes have a printable character each and come back from it") {
  std::string all, characters, back;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  byte_level::append_characters(characters, all);
  byte_level::append_bytes(back, characters);
  CHECK(back == all);
  std::string space;
  byte_level::append_characters(space, " \n\xAD");
  CHECK(space == "\u0120\u010A\u0143");  // what GPT-2's vocabulary has
  std::string kept;
  byte_level::append_bytes(kept, "\u0120\u4E2D");  // the second is no byte's character
  CHECK(kept == "\u0120\u4E2D");
}

TEST_CASE("base64 as RFC 4648 has it") {
  using detail::from_base64;
  CHECK(from_base64("").empty());
  CHECK(from_base64("Zg==") == "f");
  CHECK(from_base64("Zm8=") == "fo");
  CHECK(from_base64("Zm9vYmFy") == "foobar");
  CHECK(from_base64("+/+/") == "\xFB\xFF\xBF");
  for (const char* wrong : {"Z", "Zg=", "Zg=a", "Z===", "Zm 8"})
    CHECK_THROWS_AS(from_base64(wrong), ValueError);
}

TEST_CASE("the flat map holds what a standard map holds") {
  detail::FlatMap<int> map;
  std::unordered_map<std::uint64_t, int> expected;
  std::mt19937_64 random(3);
  CHECK(map.find(0) == nullptr);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t key = random() % 2 ? random() % 5000 : (random() % 100) << 57;
    map.set(key, i);
    expected[key] = i;
  }
  CHECK(map.size() == expected.size());
  for (const auto& [key, value] : expected) {
    const int* found = map.find(key);
    if (!found || *found != value) FAIL("key " << key);
  }
  CHECK(map.find(5001) == nullptr);
  CHECK(map == map);
  auto other = map;
  other.set(7, -1);
  CHECK_FALSE(map == other);
}

TEST_CASE("the word cache gives back what was kept and forgets rather than grows") {
  detail::WordCache cache;
  std::vector<TokenId> ids;
  CHECK_FALSE(cache.append("word", ids));
  cache.keep("word", std::vector<TokenId>{1, 2});
  CHECK(cache.append("word", ids));
  CHECK(cache.append("word", ids));
  CHECK(ids == std::vector<TokenId>{1, 2, 1, 2});
  const std::string longest(30, 'x'), longer(31, 'x');
  cache.keep(longest, std::vector<TokenId>(6, 3));
  cache.keep(longer, std::vector<TokenId>{1});
  cache.keep("many", std::vector<TokenId>(7, 3));
  cache.keep("", std::vector<TokenId>{1});
  ids.clear();
  CHECK(cache.append(longest, ids));
  CHECK(ids.size() == 6);
  CHECK_FALSE(cache.append(longer, ids));
  CHECK_FALSE(cache.append("many", ids));
  int kept = 0;
  for (int i = 0; i < 500'000; ++i) cache.keep("w" + std::to_string(i), std::vector<TokenId>{i});
  for (int i = 0; i < 500'000; ++i) {
    ids.clear();
    if (!cache.append("w" + std::to_string(i), ids)) continue;
    ++kept;
    if (ids != std::vector<TokenId>{i}) FAIL("w" << i);
  }
  CHECK(kept > 30'000);
  CHECK(kept <= 65'536);
}
