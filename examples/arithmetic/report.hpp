#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/curves.hpp"
#include "support/results.hpp"

/// The results of the experiment as tables, as JSON and as pictures.
namespace arithmetic {

using support::not_measured;

/// A finished training run.
struct Trained {
  double seconds = 0;                           ///< of training steps
  std::vector<support::CurvePoint> curve = {};  ///< accuracy on validation problems over steps
};

/// One trained student (or the teacher). Shares are fractions, 0.5 for 50 %.
struct ResultRow {
  std::string recipe = {};
  std::uint64_t seed = 0;
  double accuracy = not_measured;           ///< of greedy answers
  double accuracy_sampled = not_measured;   ///< at temperature 1, mean over evaluation seeds
  double reverse_kl = not_measured;         ///< to the teacher, nats per token of student samples
  double excess_error = not_measured;       ///< ExAccErr of whole responses, in percent
  double growth_end = not_measured;         ///< length at which ExAccErr is largest, in tokens
  double calibration_error = not_measured;  ///< of greedy responses, by the probability of the whole response
  double distinct_4 = not_measured;         ///< distinct 4-grams of tokens over all, of samples
  double repetition = not_measured;         ///< 4-grams that their own sample has already said
  double length = not_measured;             ///< of samples, in tokens
  double seconds = not_measured;            ///< of training
  std::vector<double> excess = {};          ///< ExAccErr(l) for l = 1, 2, ..., in percent
};

/// All there is to report.
struct Report {
  std::vector<ResultRow> rows = {};
  std::vector<support::Curve> accuracy = {};  ///< over steps
  nlohmann::json settings = nlohmann::json::object();
};

inline constexpr support::Column<ResultRow> columns[] = {
    {"accuracy", "right %", &ResultRow::accuracy, 100, 1},
    {"accuracy_sampled", "sampled %", &ResultRow::accuracy_sampled, 100, 1},
    {"reverse_kl", "reverse KL", &ResultRow::reverse_kl, 1, 4},
    {"excess_error", "ExAccErr %", &ResultRow::excess_error, 1, 1},
    {"growth_end", "grows to", &ResultRow::growth_end, 1, 0},
    {"calibration_error", "ECE %", &ResultRow::calibration_error, 100, 1},
    {"distinct_4", "distinct-4", &ResultRow::distinct_4, 1, 3},
    {"repetition", "repeated %", &ResultRow::repetition, 100, 2},
    {"length", "length", &ResultRow::length, 1, 1},
    {"seconds", "seconds", &ResultRow::seconds, 1, 1},
};

/// The rows of each recipe, its seeds.
[[nodiscard]] inline std::vector<std::vector<ResultRow>> groups_of(const std::vector<ResultRow>& rows) {
  return support::grouped(rows, [](const ResultRow& a, const ResultRow& b) { return a.recipe == b.recipe; });
}

/// The table: a line a recipe.
[[nodiscard]] inline std::string table(const std::vector<ResultRow>& rows) {
  std::vector<std::vector<std::string>> lines{{"recipe"}};
  for (const auto& column : columns) lines[0].emplace_back(column.heading);
  for (const auto& group : groups_of(rows)) {
    auto& line = lines.emplace_back(std::vector{group.front().recipe});
    for (const auto& column : columns) line.push_back(support::cell(group, column));
  }
  return support::aligned(lines, 1);
}

/// What becomes of MiniLLM without its parts: differences from minillm_paper, means over the seeds, beside
/// the directions that the paper reports. Empty if minillm_paper is not among the rows.
[[nodiscard]] inline std::string directions(const std::vector<ResultRow>& rows) {
  const auto groups = groups_of(rows);
  const auto paper =
      std::ranges::find(groups, "minillm_paper", [](const auto& g) { return g.front().recipe; });
  if (paper == groups.end()) return {};
  const auto difference = [&](const auto& group, double ResultRow::*value) {
    return support::summary(group, value).mean - support::summary(*paper, value).mean;
  };
  std::vector<std::vector<std::string>> lines{
      {"ablation", "length", "repeated %", "ExAccErr %", "right %", "the paper's direction", "measured"}};
  for (const auto& group : groups) {
    const std::string& name = group.front().recipe;
    const double length = difference(group, &ResultRow::length);
    const double repetition = difference(group, &ResultRow::repetition);
    const double accuracy = difference(group, &ResultRow::accuracy);
    std::string direction;
    bool shows = false;
    if (name == "no_length_normalisation")
      direction = "responses get shorter", shows = length < 0;
    else if (name == "no_teacher_mixing")
      direction = "repetition grows", shows = repetition > 0;
    else if (name == "no_single_step")
      direction = "results get worse", shows = accuracy < 0;
    else
      continue;
    lines.push_back({name, fmt::format("{:+.2f}", length), fmt::format("{:+.3f}", 100 * repetition),
                     fmt::format("{:+.1f}", difference(group, &ResultRow::excess_error)),
                     fmt::format("{:+.1f}", 100 * accuracy), direction, shows ? "yes" : "no"});
  }
  return lines.size() > 1 ? "Differences from minillm_paper\n" + support::aligned(lines, 1) : "";
}

/// The same as JSON: settings, every row, mean and deviation over the seeds, and the curves. Shares are
/// fractions, what was not measured is null.
[[nodiscard]] inline nlohmann::json to_json(const Report& report) {
  nlohmann::json rows = nlohmann::json::array(), summaries = rows, curves = rows;
  for (const ResultRow& row : report.rows) {
    auto& out = rows.emplace_back(nlohmann::json{{"recipe", row.recipe}, {"seed", row.seed}});
    support::add_numbers(out, row, columns);
    out["excess_error_by_length"] = row.excess;
  }
  for (const auto& group : groups_of(report.rows))
    support::add_summaries(summaries.emplace_back(nlohmann::json{{"recipe", group.front().recipe}}), group,
                           columns);
  for (const support::Curve& curve : report.accuracy) {
    auto& out = curves.emplace_back(nlohmann::json{{"label", curve.label}, {"seed", curve.seed}});
    auto& points = out["points"] = nlohmann::json::array();
    for (const auto& p : curve.points) points.push_back({{"step", p.at}, {"accuracy", p.y}});
  }
  return {{"settings", report.settings}, {"rows", rows}, {"summary", summaries}, {"curves", curves}};
}

/// Prints the tables, writes `NAME.json`, `NAME-exposure.png` and `NAME-accuracy.png` into `folder` (made if
/// missing) and prints where they are, the pictures last. FileError if a file cannot be written.
inline void write_report(const Report& report, const std::filesystem::path& folder, const std::string& name) {
  fmt::print("{}\n", table(report.rows));
  if (const std::string text = directions(report.rows); !text.empty()) fmt::print("{}\n", text);
  fmt::print("results: {}\n", support::write_results(to_json(report), folder, name).string());
  std::vector<support::Curve> exposure;
  for (const ResultRow& row : report.rows) {
    support::Curve curve{row.recipe, row.seed, {}};
    for (std::size_t l = 0; l < row.excess.size(); ++l)
      if (std::isfinite(row.excess[l]))
        curve.points.push_back({static_cast<std::int64_t>(l + 1), static_cast<double>(l + 1), row.excess[l]});
    if (!curve.points.empty()) exposure.push_back(std::move(curve));
  }
  const auto draw = [&](const char* what, const std::vector<support::Curve>& curves,
                        const support::Axes& axes) {
    const auto picture = folder / fmt::format("{}-{}.png", name, what);
    fmt::print("{}\n", support::picture_line(picture, support::draw_curves(curves, axes, picture)));
  };
  draw("exposure", exposure,
       {"Exposure bias: how errors grow on the student's own prefixes", "length in tokens", "ExAccErr in %",
        " %"});
  draw("accuracy", report.accuracy,
       {"Right answers of the student while it is trained", "optimizer steps", "right answers, greedy, in %",
        " %", 1, 100});
  std::fflush(stdout);
}

}  // namespace arithmetic
