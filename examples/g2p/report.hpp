#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/curves.hpp"
#include "support/results.hpp"

/// The results of the experiment as a table, as JSON and as a picture.
namespace g2p {

using support::not_measured;

/// One trained student (or the teacher). Rates are fractions, 0.5 for 50 %.
struct ResultRow {
  std::string recipe = {};
  std::string divergence = {};        ///< empty if the recipe has none
  std::optional<double> lambda = {};  ///< share of student outputs; nothing if the recipe has none
  std::uint64_t seed = 0;
  double wer_greedy = not_measured;
  double per_greedy = not_measured;
  double wer_sampled = not_measured;  ///< sampled at temperature 1
  double per_sampled = not_measured;
  double reverse_kl = not_measured;  ///< to the teacher, nats per token of student samples
  double seconds = not_measured;     ///< of training
};

/// All there is to report.
struct Report {
  std::vector<ResultRow> rows = {};
  int curve_words = 0;                      ///< validation words of the curves
  std::vector<support::Curve> curves = {};  ///< word error rate over seconds of training, by step
  nlohmann::json settings =
      nlohmann::json::object();  ///< whatever the program wants to keep beside the results
};

inline constexpr support::Column<ResultRow> columns[] = {
    {"wer_greedy", "WER %", &ResultRow::wer_greedy, 100, 2},
    {"per_greedy", "PER %", &ResultRow::per_greedy, 100, 2},
    {"wer_sampled", "WER % sampled", &ResultRow::wer_sampled, 100, 2},
    {"per_sampled", "PER % sampled", &ResultRow::per_sampled, 100, 2},
    {"reverse_kl", "reverse KL", &ResultRow::reverse_kl, 1, 4},
    {"seconds", "seconds", &ResultRow::seconds, 1, 1},
};

/// Rows that differ in nothing but their seed.
[[nodiscard]] inline std::vector<std::vector<ResultRow>> groups_of(const std::vector<ResultRow>& rows) {
  return support::grouped(rows, [](const ResultRow& a, const ResultRow& b) {
    return std::tie(a.recipe, a.divergence, a.lambda) == std::tie(b.recipe, b.divergence, b.lambda);
  });
}

/// The table: a line a group, words left, numbers right; ends with a line end.
[[nodiscard]] inline std::string table(const std::vector<ResultRow>& rows) {
  const auto groups = groups_of(rows);
  std::size_t seeds = 0;
  for (const auto& group : groups) seeds = std::max(seeds, group.size());

  std::vector<std::vector<std::string>> lines{{"recipe", "divergence", "lambda"}};
  if (seeds > 1) lines[0].push_back("seeds");
  for (const auto& column : columns) lines[0].emplace_back(column.heading);
  for (const auto& group : groups) {
    const ResultRow& row = group.front();
    auto& line = lines.emplace_back();
    line = {row.recipe, row.divergence.empty() ? "-" : row.divergence,
            row.lambda ? fmt::format("{:g}", *row.lambda) : "-"};
    if (seeds > 1) line.push_back(fmt::format("{}", group.size()));
    for (const auto& column : columns) line.push_back(support::cell(group, column));
  }
  return support::aligned(lines, 2);
}

/// The same as JSON: settings, every row, mean and deviation over the seeds, and the curves. Rates are
/// fractions, what was not measured is null.
[[nodiscard]] inline nlohmann::json to_json(const Report& report) {
  const auto head = [](const ResultRow& row) {
    return nlohmann::json{
        {"recipe", row.recipe},
        {"divergence", row.divergence.empty() ? nlohmann::json() : nlohmann::json(row.divergence)},
        {"lambda", row.lambda ? nlohmann::json(*row.lambda) : nlohmann::json()}};
  };
  nlohmann::json rows = nlohmann::json::array(), summaries = rows, curves = rows;
  for (const ResultRow& row : report.rows) {
    auto& out = rows.emplace_back(head(row));
    out["seed"] = row.seed;
    support::add_numbers(out, row, columns);
  }
  for (const auto& group : groups_of(report.rows))
    support::add_summaries(summaries.emplace_back(head(group.front())), group, columns);
  for (const support::Curve& curve : report.curves) {
    auto& out = curves.emplace_back(nlohmann::json{{"label", curve.label}, {"seed", curve.seed}});
    auto& points = out["points"] = nlohmann::json::array();
    for (const support::CurvePoint& p : curve.points)
      points.push_back({{"step", p.at}, {"seconds", p.x}, {"wer_greedy", p.y}});
  }
  return {{"settings", report.settings}, {"rows", rows}, {"summary", summaries}, {"curves", curves}};
}

/// Word error rates over the time of training.
[[nodiscard]] inline support::Axes axes_of(const Report& report) {
  double longest = 0;
  for (const support::Curve& curve : report.curves)
    if (!curve.points.empty()) longest = std::max(longest, curve.points.back().x);
  const bool in_minutes = longest > 600;
  return {.title = fmt::format("The student's word error rate on {} validation words", report.curve_words),
          .x = in_minutes ? "training time in minutes" : "training time in seconds",
          .y = "word error rate, greedy, in %",
          .unit = " %",
          .x_scale = in_minutes ? 1.0 / 60 : 1,
          .y_scale = 100};
}

/// Prints the table to `out`, writes `results.json` and `curves.png` into `folder` (made if missing) and
/// prints where they are, the picture last. FileError if a file cannot be written.
inline void write_report(const Report& report, const std::filesystem::path& folder, std::FILE* out = stdout) {
  fmt::print(out, "{}\n", table(report.rows));
  fmt::print(out, "results: {}\n", support::write_results(to_json(report), folder, "results").string());
  const auto picture = folder / "curves.png";
  fmt::print(out, "{}\n",
             support::picture_line(picture, support::draw_curves(report.curves, axes_of(report), picture)));
  std::fflush(out);
}

}  // namespace g2p
