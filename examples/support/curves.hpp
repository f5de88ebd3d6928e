#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/gnuplot.hpp"

/// Pictures of curves: what changes over training or over the length of responses, drawn by gnuplot.
namespace support {

/// `at` tells which points of several seeds belong together: the optimizer step, or the length.
struct CurvePoint {
  std::int64_t at = 0;
  double x = 0, y = 0;
};

/// One line of a picture. Curves that share a label (several seeds) are averaged point by point; a curve of
/// one point is drawn as a level line (a teacher, say).
struct Curve {
  std::string label = {};
  std::uint64_t seed = 0;
  std::vector<CurvePoint> points = {};
};

/// The words of a picture, and its units.
struct Axes {
  std::string title, x, y, unit;    ///< the unit is written behind the last value of each line
  double x_scale = 1, y_scale = 1;  ///< what the curves' numbers are multiplied by
};

/// The curves with their seeds averaged, in the order of the labels' first appearance. Only points that every
/// seed has are kept, so that no line jumps where a seed ends.
[[nodiscard]] inline std::vector<Curve> averaged(const std::vector<Curve>& curves) {
  struct Sum {
    int count = 0;
    double x = 0, y = 0;
  };
  std::vector<std::pair<Curve, int>> labels;  // and how many seeds
  std::map<std::string, std::map<std::int64_t, Sum>> sums;
  for (const Curve& curve : curves) {
    auto label = std::ranges::find(labels, curve.label, [](const auto& pair) { return pair.first.label; });
    if (label == labels.end()) label = labels.insert(label, {Curve{curve.label, curve.seed, {}}, 0});
    ++label->second;
    for (const CurvePoint& p : curve.points) {
      Sum& sum = sums[curve.label][p.at];
      ++sum.count, sum.x += p.x, sum.y += p.y;
    }
  }
  std::vector<Curve> means;
  for (auto& [curve, seeds] : labels) {
    for (const auto& [at, sum] : sums[curve.label])
      if (sum.count == seeds) curve.points.push_back({at, sum.x / seeds, sum.y / seeds});
    if (!curve.points.empty()) means.push_back(std::move(curve));
  }
  return means;
}

/// The program that makes gnuplot draw averaged curves into `picture`, data included.
[[nodiscard]] inline std::string curves_program(const std::vector<Curve>& curves, const Axes& axes,
                                                const std::filesystem::path& picture) {
  // Okabe and Ito's colours, which colour-blind people can tell apart too, without their yellow
  constexpr std::array colours{"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                               "#000000", "#56B4E9", "#E69F00", "#7F3C8D"};
  constexpr std::array dashes{"solid", "(12,4)", "(3,3)", "(12,4,3,4)", "(20,6)"};
  constexpr std::array symbols{7, 5, 9, 11, 13, 6, 4, 8};  // of points: discs, squares, triangles ...
  constexpr std::size_t most_symbols = 24;                 // more points are a line

  double longest = 0;
  for (const Curve& curve : curves) longest = std::max(longest, axes.x_scale * curve.points.back().x);
  if (longest <= 0) longest = 1;

  std::string out;
  auto end = std::back_inserter(out);
  for (std::size_t i = 0; i < curves.size(); ++i) {
    fmt::format_to(end, "$curve{} << END\n", i);
    const auto& points = curves[i].points;
    if (points.size() == 1)
      fmt::format_to(end, "0 {0}\n{1} {0}\n", axes.y_scale * points[0].y, longest);
    else
      for (const CurvePoint& p : points)
        fmt::format_to(end, "{} {}\n", axes.x_scale * p.x, axes.y_scale * p.y);
    out += "END\n";
  }
  fmt::format_to(
      end,
      "set terminal pngcairo size 1200,800 font ',15' linewidth 1 noenhanced background '#FFFFFF'\n"
      "if (!exists('picture')) picture = {}\n"
      "set output picture\n"
      "set title {} font ',18' offset 0,0.3\n"
      "set xlabel {} offset 0,-0.3\n"
      "set ylabel {} offset -0.5,0\n"
      "set border 3 linewidth 1.2 linecolor '#555555'\n"
      "set tics nomirror out textcolor '#333333'\n"
      "set grid xtics ytics linetype 1 linecolor '#E4E4E4' linewidth 1\n"
      "set key outside right top vertical Left reverse samplen 3.5 spacing {} font ',{}'\n"
      "set offsets 0,0,graph 0.04,graph 0.04\n"
      "set xrange [0:{}]\n"
      "plot \\\n",
      gnuplot_quoted(picture.string()), gnuplot_quoted(axes.title), gnuplot_quoted(axes.x),
      gnuplot_quoted(axes.y), curves.size() > 16 ? 1.15 : 1.45, curves.size() > 24 ? 10 : 13, longest * 1.02);
  // the legend follows the lines' right ends from top to bottom
  std::vector<std::size_t> order(curves.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::size_t i) { return curves[i].points.back().y; });
  for (const std::size_t i : order) {
    const std::size_t points = curves[i].points.size(), round = i / colours.size();
    const bool level = points == 1, marked = !level && points <= most_symbols;
    const std::string title =
        fmt::format("{}  {:.1f}{}", curves[i].label, axes.y_scale * curves[i].points.back().y, axes.unit);
    fmt::format_to(end, "  $curve{} with {} linewidth {} linecolor '{}' dashtype {}", i,
                   marked ? "linespoints" : "lines", level ? "2" : "2.6", colours[i % colours.size()],
                   level ? "(6,5)" : dashes[(i + round) % dashes.size()]);
    if (marked) fmt::format_to(end, " pointtype {} pointsize 0.9", symbols[(i + 3 * round) % symbols.size()]);
    fmt::format_to(end, " title {}{}\n", gnuplot_quoted(title), i == order.back() ? "" : ", \\");
  }
  return out;
}

/// Draws the curves, their seeds averaged, into the PNG file `picture`, and leaves gnuplot's program beside
/// it (with .gp) for whoever wants another picture. Returns an empty text, or one line that says why there is
/// no picture; one that was there before stays then. FileError if the program cannot be written.
[[nodiscard]] inline std::string draw_curves(const std::vector<Curve>& curves, const Axes& axes,
                                             const std::filesystem::path& picture,
                                             const std::string& gnuplot = "gnuplot") {
  const auto means = averaged(curves);
  if (means.empty()) return "there are no curves to draw";
  return run_gnuplot(curves_program(means, axes, picture), picture, gnuplot);
}

/// "picture: PATH", or "no picture: " and why.
[[nodiscard]] inline std::string picture_line(const std::filesystem::path& picture,
                                              const std::string& why_not) {
  return why_not.empty() ? "picture: " + picture.string() : "no picture: " + why_not;
}

}  // namespace support
