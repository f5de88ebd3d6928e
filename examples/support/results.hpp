#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/io/atomic_file.hpp"

/// Results of an experiment: the numbers of its rows, their means over seeds, as a table and as JSON.
namespace support {

inline constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

/// Mean and, from two values on, sample standard deviation (divisor n - 1) of what was measured.
struct Summary {
  int count = 0;
  double mean = not_measured, deviation = not_measured;
};

[[nodiscard]] inline Summary summary(const std::vector<double>& values) {
  Summary out;
  double sum = 0, squares = 0;
  for (const double value : values)
    if (!std::isnan(value)) ++out.count, sum += value;
  if (out.count == 0) return out;
  out.mean = sum / out.count;
  for (const double value : values)
    if (!std::isnan(value)) squares += (value - out.mean) * (value - out.mean);
  if (out.count > 1) out.deviation = std::sqrt(squares / (out.count - 1));
  return out;
}

/// The values of one field, over the rows of a group.
template <class Row>
[[nodiscard]] Summary summary(const std::vector<Row>& group, double Row::*value) {
  std::vector<double> values;
  for (const Row& row : group) values.push_back(row.*value);
  return summary(values);
}

/// A number of a row, with its name in JSON, its heading and how to print it.
template <class Row>
struct Column {
  std::string_view name, heading;
  double Row::*value;
  double scale;
  int decimals;
};

/// "73.25", "73.25 ± 0.31" over several seeds, "-" if not measured.
template <class Row>
[[nodiscard]] std::string cell(const std::vector<Row>& group, const Column<Row>& column) {
  const Summary s = summary(group, column.value);
  if (s.count == 0) return "-";
  const std::string mean = fmt::format("{:.{}f}", s.mean * column.scale, column.decimals);
  return s.count == 1 ? mean : mean + fmt::format(" ± {:.{}f}", s.deviation * column.scale, column.decimals);
}

/// Rows that are the `same`, in the order of their first appearance.
template <class Row, class Same>
[[nodiscard]] std::vector<std::vector<Row>> grouped(const std::vector<Row>& rows, Same same) {
  std::vector<std::vector<Row>> groups;
  for (const Row& row : rows) {
    auto group = std::ranges::find_if(groups, [&](const auto& g) { return same(g.front(), row); });
    if (group == groups.end()) group = groups.insert(group, std::vector<Row>{});
    group->push_back(row);
  }
  return groups;
}

/// Lines of cells with straight columns and a rule below the first line; the first `words` columns to the
/// left, the others to the right. Ends with a line end.
[[nodiscard]] inline std::string aligned(const std::vector<std::vector<std::string>>& lines,
                                         std::size_t words) {
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
      out.append(i > 0 ? "  " : "").append(i < words ? line[i] + blanks : blanks + line[i]);
    }
    out += '\n';
    if (&line != &lines.front()) continue;
    for (std::size_t i = 0; i < widths.size(); ++i) out.append(i > 0 ? "  " : "").append(widths[i], '-');
    out += '\n';
  }
  return out;
}

/// Adds a row's numbers to its JSON object; what was not measured is null.
template <class Row, std::size_t n>
void add_numbers(nlohmann::json& out, const Row& row, const Column<Row> (&columns)[n]) {
  for (const auto& column : columns) out[std::string(column.name)] = row.*column.value;
}

/// Adds the number of seeds of a group, and mean and deviation of each number.
template <class Row, std::size_t n>
void add_summaries(nlohmann::json& out, const std::vector<Row>& group, const Column<Row> (&columns)[n]) {
  out["seeds"] = group.size();
  for (const auto& column : columns) {
    const Summary s = summary(group, column.value);
    out[std::string(column.name)] = {{"mean", s.mean}, {"deviation", s.deviation}};
  }
}

/// Writes `<folder>/<name>.json`, in a folder that is made if it is missing, and returns its path. FileError
/// if that cannot be done.
inline std::filesystem::path write_results(const nlohmann::json& results, const std::filesystem::path& folder,
                                           const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    retort::fail<retort::FileError>("report", "cannot make the folder '{}': {}", folder.string(),
                                    error.message());
  const auto path = folder / (name + ".json");
  retort::write_file(path, results.dump(2) + "\n");
  return path;
}

}  // namespace support
