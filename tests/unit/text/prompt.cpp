#include "retort/text/prompt.hpp"

#include "catch.hpp"

using namespace retort;

TEST_CASE("a prompt format fills in its fields, as often as they occur, and takes doubled braces as text") {
  const PromptFormat format("### {q}\n{{json: {a}}} {q}!");
  CHECK(format.fill({{"q", "who?"}, {"a", "{x}"}}) == "### who?\n{json: {x}} who?!");
  CHECK(PromptFormat("").fill({}).empty());
  CHECK(PromptFormat("{x}").fill({{"x", ""}}).empty());
  CHECK(format.has("a"));
  CHECK_FALSE(format.has("b"));
}

TEST_CASE("a prompt format refuses unknown and missing fields and odd braces") {
  const PromptFormat format("{q}");
  CHECK_THROWS_WITH(format.fill({}), "[prompt] the field 'q' is not given");
  CHECK_THROWS_WITH(format.fill({{"q", ""}, {"r", ""}}), "[prompt] the format has no field 'r'");
  for (const char* wrong : {"{", "}", "a {b", "a } b", "{}", "{a{b}}"})
    CHECK_THROWS_AS(PromptFormat(wrong), ValueError);
}
