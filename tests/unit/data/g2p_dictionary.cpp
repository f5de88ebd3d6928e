#include "g2p/dictionary.hpp"

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "catch.hpp"

using namespace g2p;

namespace {
Dictionary read(const std::string& text, ReadOptions options = {}) {
  std::istringstream in(text);
  return read_dictionary(in, "words.txt", options);
}

std::string message(const std::string& text) {
  try {
    read(text);
  } catch (const retort::FileError& error) {
    return error.what();
  }
  return "no error";
}

// The message for `text` contains `part`.
bool says(const std::string& text, std::string_view part) {
  UNSCOPED_INFO(message(text));
  return message(text).find(part) != std::string::npos;
}

const std::filesystem::path installed = "/usr/share/festival/dicts/cmu/cmudict-0.4.out";
}  // namespace

TEST_CASE(
    "festival's format: syllables become one list of phonemes, stress is dropped or kept on the vowel") {
  const std::string text =
      "MNCL\n"
      "(\"aachen\" nil (((aa) 1) ((k ax n) 0)))\n"
      "(\"a\" dt (((ax) 0)))\n";
  const Dictionary dropped = read(text);
  REQUIRE(dropped.entries.size() == 2);
  CHECK(dropped.format == Format::festival);
  CHECK(dropped.entries[0].word == "aachen");
  CHECK(dropped.entries[0].pronunciations == std::vector<Pronunciation>{{"aa", "k", "ax", "n"}});
  const Dictionary kept = read(text, {.keep_stress = true});
  CHECK(kept.entries[0].pronunciations == std::vector<Pronunciation>{{"aa1", "k", "ax0", "n"}});
}

TEST_CASE("cmudict's own format: comments, variants, stress, case and line ends") {
  const std::string text =
      ";;; a comment\r\n"
      "\r\n"
      "READ  R EH1 D\r\n"
      "READ(1)  R IY1 D # as in: to read\r\n"
      "'bout b aw1 t\n";
  const Dictionary dropped = read(text);
  REQUIRE(dropped.entries.size() == 2);
  CHECK(dropped.format == Format::cmu);
  CHECK(dropped.entries[0].word == "read");
  CHECK(dropped.entries[0].pronunciations == std::vector<Pronunciation>{{"r", "eh", "d"}, {"r", "iy", "d"}});
  CHECK(dropped.entries[1].word == "'bout");
  CHECK(dropped.pronunciations() == 3);
  CHECK(read(text, {.keep_stress = true}).entries[0].pronunciations[1] == Pronunciation{"r", "iy1", "d"});
}

TEST_CASE("a byte order mark before the first line is no part of it") {
  for (const char* first : {"A  AH0\n", "MNCL\n(\"a\" nil (((ax) 0)))\n"}) {
    CAPTURE(first);
    const Dictionary d = read(std::string("\xEF\xBB\xBF") + first);
    REQUIRE(d.entries.size() == 1);
    CHECK(d.entries[0].word == "a");
    CHECK(d.foreign.count == 0);
  }
}

TEST_CASE("pronunciations of a word are grouped wherever they stand, and equal ones kept once") {
  const Dictionary d = read("A  AH0\nBEE  B IY1\na(1)  EY1\nA(2)  AH1\n");
  REQUIRE(d.entries.size() == 2);
  CHECK(d.entries[0].pronunciations == std::vector<Pronunciation>{{"ah"}, {"ey"}});
}

TEST_CASE("words with other characters are counted, named with their line and skipped") {
  const Dictionary d = read(
      "!POINT  P OY1 N T\n"
      "D\xC9J\xC0  D EY0 ZH AA1\n"
      "X-RAY  EH1 K S R EY2\n"
      "OK  OW1 K EY1\n"
      "MP3  EH1 M P IY1 TH R IY1\n"
      ";SEMI-COLON  S EH1 M IY0\n"
      "(PAREN  P ER0 EH1 N\n"
      "A.  EY1\n");
  CHECK(d.entries.size() == 1);
  CHECK(d.foreign.count == 7);
  CHECK(d.foreign.named == std::vector<std::string>{"!point (line 1)", "d\\xc9j\\xc0 (line 2)",
                                                    "x-ray (line 3)", "mp3 (line 5)",
                                                    ";semi-colon (line 6)"});
}

TEST_CASE("very long words and pronunciations are counted and skipped") {
  const std::string long_word(31, 'x'), whole_word(30, 'x');
  std::string phonemes;
  for (int i = 0; i < 31; ++i) phonemes += " K";
  const Dictionary d = read(long_word + "  K\n" + whole_word + "  K\nEND " + phonemes + "\n");
  CHECK(d.entries.size() == 1);
  CHECK(d.too_long.count == 2);
  CHECK(d.too_long.named[1] == "end (line 3)");
  CHECK(read("ABC  EY1 B IY1 S IY1\nAB  EY1\n", {.most_letters = 2}).entries.size() == 1);
}

TEST_CASE("a malformed line is an error that names file, line, column and what was expected") {
  CHECK(message("A  AH0\nLONELY\n") ==
        "[dictionary] words.txt:2: expected a phoneme, such as AH or AH0 at column 7, found the end of the "
        "line");
  CHECK(message("A  AH0\nBEE  B 17\n") ==
        "[dictionary] words.txt:2: expected a phoneme, such as AH or AH0 at column 8, found '17'");
  CHECK(message("MNCL\n\n(\"a\" dt (((ax) 7)))\n") ==
        "[dictionary] words.txt:3: expected a syllable's stress, 0, 1 or 2 at column 16, found '7)))'");
  CHECK(message("(\"a\" dt (((ax) 0))\n") ==
        "[dictionary] words.txt:1: expected another syllable or )) at the end at column 19, found the end of "
        "the line");
  CHECK(says("(\"a\" dt ())\n", "words.txt:1: expected (( before a syllable's phonemes"));
  CHECK(says("(\"a\" dt ((() 0)))\n", "words.txt:1: expected a phoneme"));
  CHECK(says("(\"a\" (((ax) 0)))\n", "words.txt:1: expected a part of speech"));
  CHECK(says("(\"a dt (((ax) 0)))\n", "words.txt:1: expected \" after the word"));
  CHECK(says("(\"a\" dt (((ax) 0))) x\n", "words.txt:1: expected nothing more at column 21, found 'x'"));
  CHECK(says("(\"a\" dt (((ax) 0)))\nA  AH0\n", "words.txt:2: expected (\" before the word"));
  CHECK(says(std::string("\x89PNG\x0d\x0a\x1a\x0a\0\0", 10), "words.txt:1: expected a phoneme"));
}

TEST_CASE("every line cut short anywhere is malformed, and never a crash") {
  const std::string line = "(\"aachen\" nil (((aa) 1) ((k ax n) 0)))";
  for (std::size_t length = 3; length < line.size(); ++length) {
    CAPTURE(length);
    CHECK(says(fmt::format("MNCL\n{}", line.substr(0, length)), "words.txt:2: expected"));
  }
  CHECK(message(fmt::format("MNCL\n{}", line)) == "no error");
}

TEST_CASE("a file that is missing, empty, a folder or without a usable word is an error") {
  CHECK_THROWS_WITH(read_dictionary(std::filesystem::path("/nowhere/words.txt")),
                    "[dictionary] /nowhere/words.txt: there is no such file");
  CHECK_THROWS_WITH(read_dictionary(std::filesystem::path("/")),
                    "[dictionary] /: this is a folder, a dictionary file was expected");
  CHECK(message("") == "[dictionary] words.txt: the file is empty, a dictionary was expected");
  CHECK(message(";;; nothing here\n\n") ==
        "[dictionary] words.txt: no entries, lines 1 to 2 are empty or comments");
  CHECK(message("X-RAY  EH1\n") ==
        "[dictionary] words.txt: none of the 1 lines has a usable word (1 with other letters, 0 too long)");
  CHECK(says("MNCL\n", "none of the 1 lines has a usable word"));
}

TEST_CASE("the part of a word depends on its spelling alone and the parts are 90, 5 and 5 percent") {
  int counts[3] = {};
  constexpr int words = 20000;
  for (int i = 0; i < words; ++i) {
    std::string word;
    for (int rest = i + 26; rest > 0; rest /= 26) word += static_cast<char>('a' + rest % 26);
    ++counts[static_cast<int>(part_of(word))];
  }
  CHECK(counts[static_cast<int>(Part::train)] == Approx(0.90 * words).margin(130));  // three deviations
  CHECK(counts[static_cast<int>(Part::valid)] == Approx(0.05 * words).margin(93));
  CHECK(counts[static_cast<int>(Part::test)] == Approx(0.05 * words).margin(93));
  // fixed for ever: results of different versions are compared on the same test words
  CHECK(part_of("a") == Part::train);
  CHECK(part_of("retort") == Part::train);
  CHECK(part_of("house") == Part::valid);
  CHECK(part_of("water") == Part::test);
}

TEST_CASE("the parts of a dictionary are all of it, no word twice") {
  const Dictionary d = read("ONE  W AH1 N\nTWO  T UW1\nTHREE  TH R IY1\nFOUR  F AO1 R\nFIVE  F AY1 V\n");
  std::size_t sum = 0;
  std::set<std::string> words;
  for (const Part part : {Part::train, Part::valid, Part::test})
    for (const Entry& entry : entries_of(d, part)) ++sum, words.insert(entry.word);
  CHECK(sum == 5);
  CHECK(words.size() == 5);
}

TEST_CASE("the dictionary of Debian's festlex-cmu is read whole") {
  if (!std::filesystem::exists(installed)) RETORT_SKIP("festlex-cmu is not installed");
  const Dictionary d = read_dictionary(installed);
  CHECK(d.format == Format::festival);
  CHECK(d.entries.size() == 105664);    // counted with a regular expression in Python
  CHECK(d.pronunciations() == 105832);  // likewise
  CHECK(d.foreign.count == 0);
  CHECK(d.too_long.count == 0);
  CHECK(entries_of(d, Part::train).size() == 95160);
  CHECK(entries_of(d, Part::valid).size() == 5262);
  CHECK(entries_of(d, Part::test).size() == 5242);
}
