#include "retort/io/progress.hpp"

#include <string>
#include <vector>

#include "catch.hpp"

using namespace retort;

namespace {
// Runs `body(progress, now)` on a clock that only `now` moves and returns what was printed.
template <class Body>
std::string printed(ProgressOptions options, Body body) {
  std::FILE* out = std::tmpfile();
  double now = 100;
  {
    Progress progress(std::move(options), out, [&now] { return now; });
    body(progress, now);
  }
  std::rewind(out);
  std::string text(100000, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), out));
  std::fclose(out);
  return text;
}

long count(const std::string& text, char c) {
  return std::ranges::count(text, c);
}
}  // namespace

TEST_CASE("durations are short and readable") {
  CHECK(format_duration(0) == "0s");
  CHECK(format_duration(59.4) == "59s");
  CHECK(format_duration(59.6) == "1m 00s");
  CHECK(format_duration(185) == "3m 05s");
  CHECK(format_duration(2 * 3600 + 3 * 60) == "2h 03m");
  CHECK(format_duration(-1) == "0s");
}

TEST_CASE("elsewhere than on a terminal: a plain line every tenth, with rate and remaining time") {
  const std::string text = printed({.label = "student", .total = 100}, [](Progress& progress, double& now) {
    for (int i = 0; i < 100; ++i) {
      now += 0.5;
      progress.advance(1, i == 0 ? "loss 2.5" : "");
    }
  });
  CHECK(text.substr(0, text.find('\n')) == "student   10 %  10/100 steps  2.00/s  45s left  loss 2.5");
  CHECK(count(text, '\n') == 10);
  CHECK(count(text, '\r') == 0);
  CHECK(count(text, '\x1b') == 0);
  CHECK(text.ends_with("student  100 %  100/100 steps  2.00/s  took 50s  loss 2.5\n"));
}

TEST_CASE("a slow loop gives a line every ten seconds, a fast one not more than one a second") {
  const std::string slow = printed({.total = 1000}, [](Progress& progress, double& now) {
    for (int i = 0; i < 25; ++i) now += 4, progress.advance();
  });
  CHECK(count(slow, '\n') == 8 + 1);  // after 12, 24, ... 96 seconds; and the last state
  const std::string fast = printed({.total = 1000}, [](Progress& progress, double& now) {
    for (int i = 0; i < 1000; ++i) now += 0.002, progress.advance();
  });
  CHECK(count(fast, '\n') == 2);  // after one second, and complete
}

TEST_CASE("on a terminal one line is redrawn in place and ended once") {
  const std::string text =
      printed({.label = "teacher", .unit = "examples", .total = 640, .is_terminal = true},
              [](Progress& progress, double& now) {
                for (int i = 0; i < 10; ++i) now += 0.2, progress.advance(64);
                progress.finish();
                progress.finish();
              });
  CHECK(count(text, '\n') == 1);
  CHECK(count(text, '\r') == 1 + 10 + 1);  // begin, ten redraws, finish
  CHECK(text.find("teacher  [============            ]  50 %  320/640 examples  320/s  1s left") !=
        std::string::npos);
  CHECK(text.find("[========================] 100 %") != std::string::npos);
}

TEST_CASE("the rate of a resumed run counts only what it has done itself") {
  const std::string text = printed({.total = 200, .start = 100}, [](Progress& progress, double& now) {
    now += 10;
    progress.advance(20);
  });
  CHECK(text == " 60 %  120/200 steps  2.00/s  40s left\n");
}

TEST_CASE("without a total there is a count and a rate alone") {
  const std::string text = printed({.label = "read", .unit = "words"}, [](Progress& progress, double& now) {
    now += 20;
    progress.advance(4000);
  });
  CHECK(text == "read  4000 words  200/s\n");
}

TEST_CASE("nothing done in no time neither divides by zero nor prints a line") {
  CHECK(printed({.total = 10}, [](Progress&, double&) {}).empty());
  CHECK(printed({.total = 0}, [](Progress&, double&) {}).empty());
  const std::string at_once =
      printed({.total = 10}, [](Progress& progress, double&) { progress.advance(10); });
  CHECK(at_once == "100 %  10/10 steps  took 0s\n");
}

TEST_CASE("printing between redraws does not leave a torn bar") {
  const std::string text = printed({.total = 10, .is_terminal = true}, [](Progress& progress, double& now) {
    now += 1;
    progress.advance(5);
    progress.print("saved");
  });
  CHECK(text.find("\r\x1b[Ksaved\n\r") != std::string::npos);
}
