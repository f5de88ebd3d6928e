// Files of prompts and of examples, as the programs read them.
#include "catch.hpp"
#include "distill/data.hpp"
#include "fixtures.hpp"
#include "generate/prompts.hpp"

using namespace retort;
using namespace retort::test;
using Catch::Matchers::Contains;

namespace {

std::string in_brackets(std::size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

/// Values that make messages long or, printed by recursion, overflow the stack.
void check_bad_values(const Folder& folder, auto&& read) {
  const auto refusal = [&](const std::string& line) {
    folder.write("lines.jsonl", "{\"prompt\": \"x\", \"output\": \"y\"}\n" + line + "\n");
    return message_of<FileError>(read);
  };
  for (const char* field : {"prompt", "id", "other"}) {
    const std::string message =
        refusal("{\"prompt\": 0, \"" + std::string(field) + "\": " + in_brackets(100000) + "}");
    CHECK_THAT(message, Contains("lines.jsonl', line 2: nested too deeply"));
  }
  CHECK(refusal(R"({"prompt": [")" + std::string(5000, 'x') + "\"]}").size() < 300);
}

}  // namespace

TEST_CASE("a line of prompts that is nested deeply is an error that names it") {
  const Folder folder;
  check_bad_values(folder, [&] { (void)generator::read_prompts((folder / "lines.jsonl").string()); });
}

TEST_CASE("examples: a line that is nested deeply is an error, bytes that are not UTF-8 are U+FFFD") {
  const Folder folder;
  const Tokenizer tokenizer = load_tokenizer(tokenizer_folder("llama2"));
  const distill::DataOptions options{.prompt_field = "prompt",
                                     .response_field = "output",
                                     .format = "{prompt}",
                                     .max_prompt = 100,
                                     .max_tokens = 100,
                                     .end_token = 2,
                                     .needs_response = true,
                                     .decoder = true};
  const auto read = [&] { return distill::read_data(folder / "lines.jsonl", tokenizer, options); };
  check_bad_values(folder, read);
  folder.write("lines.jsonl", "{\"prompt\": \"a\xFF b\", \"output\": \"\xE2\x82\"}\n");
  const distill::Data damaged = read();
  folder.write("lines.jsonl", "{\"prompt\": \"a\xEF\xBF\xBD b\", \"output\": \"\xEF\xBF\xBD\"}\n");
  const distill::Data repaired = read();
  CHECK(damaged.examples.prompts == repaired.examples.prompts);
  CHECK(damaged.examples.responses == repaired.examples.responses);
}

TEST_CASE("a bos that the template has is not doubled") {
  const Folder folder;
  const Tokenizer tokenizer = load_tokenizer(tokenizer_folder("llama2"));
  folder.write("lines.jsonl", R"({"prompt": "the cat", "output": "x"})");
  const auto prompt = [&](const char* format) {
    const auto data = distill::read_data(folder / "lines.jsonl", tokenizer,
                                         {.prompt_field = "prompt",
                                          .response_field = "output",
                                          .format = format,
                                          .max_prompt = 100,
                                          .max_tokens = 100,
                                          .end_token = 2,
                                          .needs_response = true,
                                          .decoder = true});
    const auto tokens = data.examples.prompts[0];
    return std::vector<TokenId>(tokens.begin(), tokens.end());
  };
  CHECK(prompt("{prompt}") == tokenizer.encode("the cat"));
  CHECK(prompt("<s>{prompt}") == tokenizer.encode("<s>the cat", false));
}
