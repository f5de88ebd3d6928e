#include "arithmetic/data.hpp"

#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace arithmetic;
using Ids = std::vector<std::int32_t>;

namespace {

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / "retort_arithmetic_data";
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
    return (path / name).string();
  }
};

std::string line(const std::string& question, const std::string& answer) {
  return nlohmann::json{{"question", question}, {"answer", answer}}.dump() + "\n";
}

}  // namespace

TEST_CASE("words, runs of signs and characters are tokens, digits are characters") {
  const Vocabulary v({" apples", "<<", "Tom"});
  CHECK(v.size() == 101);
  CHECK(v.encode("Tom 12") == Ids{100, 3, 3 + '1' - ' ', 3 + '2' - ' '});
  CHECK(v.encode(" apples\n<<") == Ids{98, 2, 99});
  CHECK(v.encode(" applesX")->size() == 8);          // another word: characters
  CHECK(v.encode("<<<") == Ids{3 + '<' - ' ', 99});  // another run: a sign, then one that is there
  CHECK(v.encode("caf\xc3\xa9") == std::nullopt);
  CHECK(v.decode(Ids{100, 98, 1, 98}) == "Tom apples");
  CHECK_THROWS_WITH(v.decode(Ids{101}), "[vocabulary] id 101 was given, ids are 0 to 100");
  CHECK_THROWS_AS(Vocabulary({"a b", "a b"}), retort::ValueError);
}

TEST_CASE("decoding gives every encoded text back, whatever the words are") {
  const auto problems = make_problems(2, 300);
  for (const int words : {0, 10, 1000}) {
    const auto v = Vocabulary::of(problems, words);
    CHECK(static_cast<int>(v.words().size()) <= words);
    for (const Problem& problem : problems)
      for (const auto& text : {problem.question, problem.answer, " " + problem.question + "  ## !! a\n\n b "})
        REQUIRE(v.decode(v.encode(text).value()) == text);
  }
}

TEST_CASE("GSM8K's files are read, and the test file's questions are not trained on") {
  const Folder folder;
  folder.write("test.jsonl", line("Q1?", "1+1=<<1+1=2>>2\n#### 2"));
  folder.write("train.jsonl", line("Q2?", "x\n#### 1,000") + "\n" + line("Q1?", "y\n#### 2") +
                                  line("Q3?", "z\n#### 3") + line("Q2?", "again\n#### 3"));
  const Texts texts = gsm8k_texts(folder.path.string(), 1);
  CHECK(texts.test == std::vector<Problem>{{"Q1?", "1+1=<<1+1=2>>2\n#### 2"}});
  CHECK(texts.train == std::vector<Problem>{{"Q2?", "x\n#### 1,000"}});
  CHECK(texts.valid == std::vector<Problem>{{"Q3?", "z\n#### 3"}});
  CHECK(texts.repeated == 2);
  CHECK_THROWS_AS(gsm8k_texts(folder.path.string(), 2), retort::FileError);
}

TEST_CASE("a malformed line is a file error that names file and line") {
  const Folder folder;
  const std::string good = line("Q?", "#### 1");
  const auto message = [&](const std::string& bad) {
    const auto path = folder.write("train.jsonl", good + bad + "\n");
    try {
      (void)read_gsm8k(path);
    } catch (const retort::FileError& error) {
      const std::string text = error.what(), place = path + ":2: ";
      return text.find(place) == text.npos ? text : text.substr(text.find(place) + place.size());
    }
    return std::string("no error");
  };
  CHECK(message("{\"question\": \"Q?\"") == "not a JSON object");
  CHECK(message("[1]") == "not a JSON object");
  CHECK(message("{\"question\": \"Q?\"}") == "the field answer is missing");
  CHECK(message("{\"question\": 3, \"answer\": \"#### 1\"}") == "the field question is not a text");
  CHECK(message("{\"question\": \"\", \"answer\": \"#### 1\"}") == "the question is empty");
  CHECK(message("{\"question\": \"Q?\", \"answer\": \"1\"}") == "the answer has no line '#### '");
  CHECK_THROWS_WITH(read_gsm8k("/nowhere.jsonl"), "[gsm8k] '/nowhere.jsonl' cannot be read or is empty");
  CHECK_THROWS_AS(read_gsm8k(folder.write("empty.jsonl", "")), retort::FileError);
  CHECK_THROWS_AS(read_gsm8k(folder.write("blank.jsonl", "\n\n")), retort::FileError);
}

TEST_CASE("problems become prompts and responses; what does not fit is counted") {
  const Vocabulary v({});
  const std::vector<Problem> problems{
      {"ab", "#### 1"}, {"abcdef", "#### 1"}, {"ab", "long #### 1"}, {"\x01", "1"}};
  Skipped skipped;
  const Part part = tokens_of(problems, v, 11, 7, skipped);
  REQUIRE(part.batch.size() == 1);
  CHECK(v.decode(part.batch.prompts[0]) == "ab\n");
  CHECK(v.decode(part.batch.responses[0]) == "#### 1");
  CHECK(part.batch.responses[0].back() == Vocabulary::end);
  CHECK(part.answers == std::vector<std::string>{"#### 1"});
  CHECK(skipped.no_room == 1);
  CHECK(skipped.too_long == 1);
  CHECK(skipped.unknown == 1);
  CHECK(tokens_of(problems, v, 100, 50, skipped, 2).batch.size() == 2);
}
