#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "g2p/picture.hpp"
#include "retort/core/error.hpp"
#include "retort/io/atomic_file.hpp"

/// The results of an experiment as a table, as JSON and as a picture.
namespace g2p {

inline constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

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
  std::vector<Curve> curves = {};
  nlohmann::json settings =
      nlohmann::json::object();  ///< whatever the program wants to keep beside the results
};

/// Mean and, from two values on, sample standard deviation (divisor n - 1) of what was measured.
struct Summary {
  int count = 0;
  double mean = not_measured;
  double deviation = not_measured;
};

[[nodiscard]] inline Summary summary(const std::vector<double>& values) {
  Summary out;
  double sum = 0;
  for (const double value : values)
    if (!std::isnan(value)) ++out.count, sum += value;
  if (out.count == 0) return out;
  out.mean = sum / out.count;
  double squares = 0;
  for (const double value : values)
    if (!std::isnan(value)) squares += (value - out.mean) * (value - out.mean);
  if (out.count > 1) out.deviation = std::sqrt(squares / (out.count - 1));
  return out;
}

/// The numbers of a row, with their headings, units and how to print them.
struct Column {
  std::string_view name;  ///< in JSON
  std::string_view heading;
  double ResultRow::*value;
  double scale;
  int decimals;
};

inline constexpr Column columns[] = {
    {"wer_greedy", "WER %", &ResultRow::wer_greedy, 100, 2},
    {"per_greedy", "PER %", &ResultRow::per_greedy, 100, 2},
    {"wer_sampled", "WER % sampled", &ResultRow::wer_sampled, 100, 2},
    {"per_sampled", "PER % sampled", &ResultRow::per_sampled, 100, 2},
    {"reverse_kl", "reverse KL", &ResultRow::reverse_kl, 1, 4},
    {"seconds", "seconds", &ResultRow::seconds, 1, 1},
};

/// Rows that differ in nothing but their seed, in the order of their first appearance.
[[nodiscard]] inline std::vector<std::vector<ResultRow>> grouped(const std::vector<ResultRow>& rows) {
  const auto same = [](const ResultRow& a, const ResultRow& b) {
    return std::tie(a.recipe, a.divergence, a.lambda) == std::tie(b.recipe, b.divergence, b.lambda);
  };
  std::vector<std::vector<ResultRow>> groups;
  for (const ResultRow& row : rows) {
    auto group = groups.begin();
    while (group != groups.end() && !same(group->front(), row)) ++group;
    if (group == groups.end()) group = groups.insert(group, std::vector<ResultRow>{});
    group->push_back(row);
  }
  return groups;
}

/// The values of one column, over the seeds of a group.
[[nodiscard]] inline Summary summary(const std::vector<ResultRow>& group, const Column& column) {
  std::vector<double> values;
  for (const ResultRow& row : group) values.push_back(row.*column.value);
  return summary(values);
}

/// "73.25", "73.25 ± 0.31" over several seeds, "-" if not measured.
[[nodiscard]] inline std::string cell(const Summary& s, const Column& column) {
  if (s.count == 0) return "-";
  const std::string mean = fmt::format("{:.{}f}", s.mean * column.scale, column.decimals);
  if (s.count == 1) return mean;
  return mean + fmt::format(" ± {:.{}f}", s.deviation * column.scale, column.decimals);
}

/// The table: a line a group, words left, numbers right; ends with a line end.
[[nodiscard]] inline std::string table(const std::vector<ResultRow>& rows) {
  const auto groups = grouped(rows);
  std::size_t seeds = 0;
  for (const auto& group : groups) seeds = std::max(seeds, group.size());

  std::vector<std::vector<std::string>> lines{{"recipe", "divergence", "lambda"}};
  if (seeds > 1) lines[0].push_back("seeds");
  for (const Column& column : columns) lines[0].emplace_back(column.heading);
  for (const auto& group : groups) {
    const ResultRow& row = group.front();
    auto& line = lines.emplace_back();
    line = {row.recipe, row.divergence.empty() ? "-" : row.divergence,
            row.lambda ? fmt::format("{:g}", *row.lambda) : "-"};
    if (seeds > 1) line.push_back(fmt::format("{}", group.size()));
    for (const Column& column : columns) line.push_back(cell(summary(group, column), column));
  }

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
      out.append(i > 0 ? "  " : "").append(i < 2 ? line[i] + blanks : blanks + line[i]);
    }
    out += '\n';
    if (&line != &lines.front()) continue;
    for (std::size_t i = 0; i < widths.size(); ++i) out.append(i > 0 ? "  " : "").append(widths[i], '-');
    out += '\n';
  }
  return out;
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
    for (const Column& column : columns) out[std::string(column.name)] = row.*column.value;
  }
  for (const auto& group : grouped(report.rows)) {
    auto& out = summaries.emplace_back(head(group.front()));
    out["seeds"] = group.size();
    for (const Column& column : columns) {
      const Summary s = summary(group, column);
      out[std::string(column.name)] = {{"mean", s.mean}, {"deviation", s.deviation}};
    }
  }
  for (const Curve& curve : report.curves) {
    auto& out = curves.emplace_back(nlohmann::json{{"label", curve.label}, {"seed", curve.seed}});
    auto& points = out["points"] = nlohmann::json::array();
    for (const CurvePoint& p : curve.points)
      points.push_back({{"step", p.step}, {"seconds", p.seconds}, {"wer_greedy", p.wer}});
  }
  return {{"settings", report.settings}, {"rows", rows}, {"summary", summaries}, {"curves", curves}};
}

/// Prints the table to `out`, writes `results.json` and `curves.png` into `folder` (made if missing) and
/// prints where they are, the picture last. FileError if a file cannot be written.
inline void write_report(const Report& report, const std::filesystem::path& folder, std::FILE* out = stdout) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    retort::fail<retort::FileError>("report", "cannot make the folder '{}': {}", folder.string(),
                                    error.message());
  fmt::print(out, "{}\n", table(report.rows));
  const auto results = folder / "results.json";
  retort::write_file(results, to_json(report).dump(2) + "\n");
  fmt::print(out, "results: {}\n", results.string());
  const auto picture = folder / "curves.png";
  if (const std::string problem = draw_picture(report.curves, picture); problem.empty())
    fmt::print(out, "picture: {}\n", picture.string());
  else
    fmt::print(out, "no picture: {}\n", problem);
  std::fflush(out);
}

}  // namespace g2p
