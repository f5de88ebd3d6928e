#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arithmetic/picture.hpp"
#include "retort/core/error.hpp"
#include "retort/io/atomic_file.hpp"

/// The results of an experiment as tables, as JSON and as pictures.
namespace arithmetic {

inline constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

/// A finished training run.
struct Trained {
  double seconds = 0;             ///< of training steps
  std::vector<Point> curve = {};  ///< steps, and accuracy on validation problems
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
  std::vector<Curve> accuracy = {};  ///< over steps, in percent
  nlohmann::json settings = nlohmann::json::object();
};

/// Mean and, from two values on, sample standard deviation (divisor n - 1) of what was measured.
struct Summary {
  int count = 0;
  double mean = not_measured, deviation = not_measured;
};

/// The numbers of a row, with their headings and how to print them.
struct Column {
  std::string_view name;  ///< in JSON
  std::string_view heading;
  double ResultRow::*value;
  double scale;
  int decimals;
};

inline constexpr Column columns[] = {
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

/// The rows of each recipe, its seeds, in the order of their first appearance.
[[nodiscard]] inline std::vector<std::vector<ResultRow>> grouped(const std::vector<ResultRow>& rows) {
  std::vector<std::vector<ResultRow>> groups;
  for (const ResultRow& row : rows) {
    auto group = std::ranges::find(groups, row.recipe, [](const auto& g) { return g.front().recipe; });
    if (group == groups.end()) group = groups.insert(group, std::vector<ResultRow>{});
    group->push_back(row);
  }
  return groups;
}

/// The values of one column, over the seeds of a group.
[[nodiscard]] inline Summary summary(const std::vector<ResultRow>& group, double ResultRow::*value) {
  Summary out;
  double sum = 0, squares = 0;
  for (const ResultRow& row : group)
    if (!std::isnan(row.*value)) ++out.count, sum += row.*value;
  if (out.count == 0) return out;
  out.mean = sum / out.count;
  for (const ResultRow& row : group)
    if (!std::isnan(row.*value)) squares += (row.*value - out.mean) * (row.*value - out.mean);
  if (out.count > 1) out.deviation = std::sqrt(squares / (out.count - 1));
  return out;
}

/// "73.2", "73.2 ± 0.3" over several seeds, "-" if not measured.
[[nodiscard]] inline std::string cell(const Summary& s, const Column& column) {
  if (s.count == 0) return "-";
  const std::string mean = fmt::format("{:.{}f}", s.mean * column.scale, column.decimals);
  return s.count == 1 ? mean : mean + fmt::format(" ± {:.{}f}", s.deviation * column.scale, column.decimals);
}

/// Lines of cells as a table with a rule below the first line: the first column to the left.
[[nodiscard]] inline std::string aligned(const std::vector<std::vector<std::string>>& lines) {
  // in characters: the two bytes of "±" are one
  const auto width_of = [](const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
  };
  std::vector<std::size_t> widths(lines[0].size());
  for (const auto& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  std::string out;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const std::string blanks(widths[i] - width_of(line[i]), ' ');
      out.append(i > 0 ? "  " : "").append(i == 0 ? line[i] + blanks : blanks + line[i]);
    }
    out += '\n';
    if (&line != &lines.front()) continue;
    for (std::size_t i = 0; i < widths.size(); ++i) out.append(i > 0 ? "  " : "").append(widths[i], '-');
    out += '\n';
  }
  return out;
}

/// The table: a line a recipe.
[[nodiscard]] inline std::string table(const std::vector<ResultRow>& rows) {
  std::vector<std::vector<std::string>> lines{{"recipe"}};
  for (const Column& column : columns) lines[0].emplace_back(column.heading);
  for (const auto& group : grouped(rows)) {
    auto& line = lines.emplace_back(std::vector{group.front().recipe});
    for (const Column& column : columns) line.push_back(cell(summary(group, column.value), column));
  }
  return aligned(lines);
}

/// What becomes of MiniLLM without its parts: differences from minillm_paper, means over the seeds, beside
/// the directions that the paper reports. Empty if minillm_paper is not among the rows.
[[nodiscard]] inline std::string directions(const std::vector<ResultRow>& rows) {
  const auto groups = grouped(rows);
  const auto paper =
      std::ranges::find(groups, "minillm_paper", [](const auto& g) { return g.front().recipe; });
  if (paper == groups.end()) return {};
  const auto difference = [&](const auto& group, double ResultRow::*value) {
    return summary(group, value).mean - summary(*paper, value).mean;
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
  return lines.size() > 1 ? "Differences from minillm_paper\n" + aligned(lines) : "";
}

/// The same as JSON: settings, every row, mean and deviation over the seeds, and the curves. Shares are
/// fractions, what was not measured is null.
[[nodiscard]] inline nlohmann::json to_json(const Report& report) {
  nlohmann::json rows = nlohmann::json::array(), summaries = rows, curves = rows;
  for (const ResultRow& row : report.rows) {
    auto& out = rows.emplace_back(nlohmann::json{{"recipe", row.recipe}, {"seed", row.seed}});
    for (const Column& column : columns) out[std::string(column.name)] = row.*column.value;
    out["excess_error_by_length"] = row.excess;
  }
  for (const auto& group : grouped(report.rows)) {
    auto& out =
        summaries.emplace_back(nlohmann::json{{"recipe", group.front().recipe}, {"seeds", group.size()}});
    for (const Column& column : columns) {
      const Summary s = summary(group, column.value);
      out[std::string(column.name)] = {{"mean", s.mean}, {"deviation", s.deviation}};
    }
  }
  for (const Curve& curve : report.accuracy) {
    auto& out = curves.emplace_back(nlohmann::json{{"label", curve.label}, {"seed", curve.seed}});
    auto& points = out["points"] = nlohmann::json::array();
    for (const Point& p : curve.points) points.push_back({{"step", p.x}, {"accuracy", p.y / 100}});
  }
  return {{"settings", report.settings}, {"rows", rows}, {"summary", summaries}, {"curves", curves}};
}

/// Prints the tables, writes `NAME.json`, `NAME-exposure.png` and `NAME-accuracy.png` into `folder` (made if
/// missing) and prints where they are, the pictures last. FileError if a file cannot be written.
inline void write_report(const Report& report, const std::filesystem::path& folder, const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    retort::fail<retort::FileError>("report", "cannot make the folder '{}': {}", folder.string(),
                                    error.message());
  fmt::print("{}\n", table(report.rows));
  if (const std::string text = directions(report.rows); !text.empty()) fmt::print("{}\n", text);
  const auto results = folder / (name + ".json");
  retort::write_file(results, to_json(report).dump(2) + "\n");
  fmt::print("results: {}\n", results.string());
  std::vector<Curve> exposure;
  for (const ResultRow& row : report.rows) {
    Curve curve{row.recipe, row.seed, {}};
    for (std::size_t l = 0; l < row.excess.size(); ++l)
      if (std::isfinite(row.excess[l])) curve.points.push_back({static_cast<double>(l + 1), row.excess[l]});
    if (!curve.points.empty()) exposure.push_back(std::move(curve));
  }
  const auto draw = [&](const char* what, const std::vector<Curve>& curves, const Axes& axes) {
    const auto picture = folder / fmt::format("{}-{}.png", name, what);
    if (const std::string problem = draw_picture(curves, axes, picture); problem.empty())
      fmt::print("picture: {}\n", picture.string());
    else
      fmt::print("no picture: {}\n", problem);
  };
  draw("exposure", exposure,
       {"Exposure bias: how errors grow on the student's own prefixes", "length in tokens", "ExAccErr in %",
        " %"});
  draw("accuracy", report.accuracy,
       {"Right answers of the student while it is trained", "optimizer steps", "right answers, greedy, in %",
        " %"});
  std::fflush(stdout);
}

}  // namespace arithmetic
