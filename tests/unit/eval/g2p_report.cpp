#include "g2p/report.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "catch.hpp"
#include "folder.hpp"

using namespace g2p;
using namespace support;
using namespace retort::test;
namespace fs = std::filesystem;

namespace {
std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

ResultRow row(std::string recipe, std::string divergence, std::optional<double> lambda, std::uint64_t seed,
              double wer) {
  return {std::move(recipe), std::move(divergence), lambda, seed, wer, wer / 4, wer + 0.1, wer / 3, 0.25, 12};
}

std::vector<ResultRow> three_seeds() {
  std::vector<ResultRow> rows{row("teacher", "", {}, 1, 0.25)};
  rows[0].reverse_kl = not_measured;
  for (const double wer : {0.70, 0.72, 0.74}) rows.push_back(row("GKD", "JSD(0.5)", 1.0, rows.size(), wer));
  rows.push_back(row("GKD", "JSD(0.5)", 0.5, 1, 0.75));
  return rows;
}

Report small_report() {
  Report report{three_seeds(), 500, {}, {{"steps", 600}}};
  for (const std::uint64_t seed : {1u, 2u})
    report.curves.push_back({"GKD", seed, {{0, 0, 0.9}, {100, 10, 0.8}, {200, 20, seed == 1 ? 0.70 : 0.74}}});
  report.curves.push_back({"it's the \"teacher\"", 1, {{0, 0, 0.25}}});
  return report;
}
}  // namespace

TEST_CASE("mean and sample deviation, worked out by hand, leave out what was not measured") {
  const Summary s = summary(std::vector{2.0, 4.0, not_measured, 6.0});
  CHECK(s.count == 3);
  CHECK(s.mean == Approx(4));
  CHECK(s.deviation == Approx(2));
  CHECK(std::isnan(summary(std::vector{1.0}).deviation));
  CHECK(summary(std::vector{not_measured}).count == 0);
}

TEST_CASE("the table has a line a recipe, mean and deviation over its seeds, and straight columns") {
  const auto out = lines(table(three_seeds()));
  REQUIRE(out.size() == 5);
  CHECK(out[0] ==
        "recipe   divergence  lambda  seeds         WER %         PER %  WER % sampled  PER % sampled"
        "       reverse KL     seconds");
  CHECK(out[2].find("teacher  -                -      1         25.00 ") == 0);
  CHECK(out[3].find("GKD      JSD(0.5)         1      3  72.00 ± 2.00  18.00 ± 0.50") == 0);
  CHECK(out[4].find("GKD      JSD(0.5)       0.5      1         75.00 ") == 0);
  const auto characters = [](const std::string& line) {
    return std::ranges::count_if(line, [](char c) { return (c & 0xC0) != 0x80; });
  };
  for (const std::string& line : out) CHECK(characters(line) == characters(out[0]));
}

TEST_CASE("with one seed there is neither a column of seeds nor a deviation") {
  const std::string text = table({row("SFT", "", {}, 1, 0.735)});
  CHECK(text.find("seeds") == std::string::npos);
  CHECK(text.find("±") == std::string::npos);
  CHECK(text.find("73.50") != std::string::npos);
}

TEST_CASE("the JSON has every row, the means, the curves and the settings, and null for what is not there") {
  const nlohmann::json json = nlohmann::json::parse(to_json(small_report()).dump());
  CHECK(json["rows"].size() == 5);
  CHECK(json["rows"][0]["lambda"].is_null());
  CHECK(json["rows"][0]["divergence"].is_null());
  CHECK(json["rows"][0]["reverse_kl"].is_null());
  CHECK(json["rows"][1]["wer_greedy"] == 0.70);
  CHECK(json["summary"][1]["seeds"] == 3);
  CHECK(json["summary"][1]["wer_greedy"]["mean"].get<double>() == Approx(0.72));
  CHECK(json["summary"][1]["wer_greedy"]["deviation"].get<double>() == Approx(0.02));
  CHECK(json["curves"][0]["points"][2]["wer_greedy"] == 0.70);
  CHECK(json["settings"]["steps"] == 600);
}

TEST_CASE("curves of one label are averaged over their seeds, at the steps that all have") {
  auto curves = small_report().curves;
  curves[1].points.push_back({300, 30, 0.5});
  curves[1].points[1].x = 14;
  const auto means = averaged(curves);
  REQUIRE(means.size() == 2);
  REQUIRE(means[0].points.size() == 3);
  CHECK(means[0].points[1].x == Approx(12));
  CHECK(means[0].points[2].y == Approx(0.72));
}

TEST_CASE("the report writes its files and names the picture last") {
  if (std::system("command -v gnuplot >/dev/null") != 0) RETORT_SKIP("gnuplot is not installed");
  const Folder folder("report's ");  // a name that needs quoting
  std::FILE* out = std::tmpfile();
  write_report(small_report(), folder.path / "new", out);
  std::rewind(out);
  std::string printed(4000, '\0');
  printed.resize(std::fread(printed.data(), 1, printed.size(), out));
  std::fclose(out);
  const auto picture = folder.path / "new" / "curves.png";
  CHECK(lines(printed).back() == fmt::format("picture: {}", picture.string()));
  CHECK(contents(picture).substr(0, 4) == "\x89PNG");
  CHECK(nlohmann::json::parse(contents(folder.path / "new" / "results.json")) ==
        nlohmann::json::parse(to_json(small_report()).dump()));
  CHECK(std::distance(fs::directory_iterator(folder.path / "new"), {}) ==
        3);  // and the program; nothing temporary
}

TEST_CASE(
    "without gnuplot, or with one that fails, the report says so in one line and an old picture stays") {
  const Folder folder("report's ");  // a name that needs quoting
  const auto picture = folder.path / "curves.png";
  std::ofstream(picture) << "old";
  const auto drawn_by = [&](const std::string& gnuplot) {
    return draw_curves(small_report().curves, axes_of(small_report()), picture, gnuplot);
  };
  CHECK(drawn_by("no-such-gnuplot") == "gnuplot is not installed");
  CHECK(drawn_by("false") == "gnuplot failed: it says nothing");
  CHECK(drawn_by("cat") != "");
  CHECK(draw_curves({}, {}, picture) == "there are no curves to draw");
  CHECK(contents(picture) == "old");
  CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 2);
}
