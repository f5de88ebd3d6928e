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

/// Pictures of what changes over training steps or over the length of responses, drawn by gnuplot.
namespace arithmetic {

struct Point {
  double x = 0, y = 0;
};

/// One line of a picture. Curves that share a label (several seeds) are averaged; a curve of one point is
/// drawn as a level line (a teacher, say).
struct Curve {
  std::string label = {};
  std::uint64_t seed = 0;
  std::vector<Point> points = {};
};

/// The words of a picture.
struct Axes {
  std::string title, x, y, unit;  ///< the unit is written behind the last value of each line
};

/// The curves with their seeds averaged, in the order of the labels' first appearance. Only places that every
/// seed has are kept, so that no line jumps where a seed ends.
[[nodiscard]] inline std::vector<Curve> averaged(const std::vector<Curve>& curves) {
  std::vector<std::pair<Curve, int>> labels;  // and how many seeds
  std::map<std::string, std::map<double, std::pair<int, double>>> sums;
  for (const Curve& curve : curves) {
    auto at = std::ranges::find(labels, curve.label, [](const auto& pair) { return pair.first.label; });
    if (at == labels.end()) at = labels.insert(at, {Curve{curve.label, curve.seed, {}}, 0});
    ++at->second;
    for (const Point& p : curve.points) {
      auto& [count, sum] = sums[curve.label][p.x];
      ++count, sum += p.y;
    }
  }
  std::vector<Curve> means;
  for (auto& [curve, seeds] : labels) {
    for (const auto& [x, sum] : sums[curve.label])
      if (sum.first == seeds) curve.points.push_back({x, sum.second / seeds});
    if (!curve.points.empty()) means.push_back(std::move(curve));
  }
  return means;
}

/// The program that makes gnuplot draw the curves, data included.
[[nodiscard]] inline std::string gnuplot_program(const std::vector<Curve>& curves, const Axes& axes,
                                                 const std::filesystem::path& picture) {
  // Okabe and Ito's colours, which colour-blind people can tell apart too, without their yellow
  constexpr std::array colours{"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                               "#000000", "#56B4E9", "#E69F00", "#7F3C8D"};
  constexpr std::array dashes{"solid", "(12,4)", "(3,3)", "(12,4,3,4)", "(20,6)"};
  double longest = 1;
  for (const Curve& curve : curves) longest = std::max(longest, curve.points.back().x);
  std::string out;
  auto end = std::back_inserter(out);
  for (std::size_t i = 0; i < curves.size(); ++i) {
    fmt::format_to(end, "$curve{} << END\n", i);
    if (curves[i].points.size() == 1)
      fmt::format_to(end, "0 {0}\n{1} {0}\n", curves[i].points[0].y, longest);
    else
      for (const Point& p : curves[i].points) fmt::format_to(end, "{} {}\n", p.x, p.y);
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
      "set key outside right top vertical Left reverse samplen 3.5 spacing 1.4 font ',13'\n"
      "set offsets 0,0,graph 0.04,graph 0.04\n"
      "set xrange [0:{}]\n"
      "plot \\\n",
      support::gnuplot_quoted(picture.string()), support::gnuplot_quoted(axes.title),
      support::gnuplot_quoted(axes.x), support::gnuplot_quoted(axes.y), longest);
  // the legend follows the lines' right ends from top to bottom
  std::vector<std::size_t> order(curves.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::size_t i) { return curves[i].points.back().y; });
  for (const std::size_t i : order) {
    const bool level = curves[i].points.size() == 1;
    const std::string title =
        fmt::format("{}  {:.1f}{}", curves[i].label, curves[i].points.back().y, axes.unit);
    fmt::format_to(end, "  $curve{} with lines linewidth {} linecolor '{}' dashtype {} title {}{}\n", i,
                   level ? "2" : "2.6", colours[i % colours.size()],
                   level ? "(6,5)" : dashes[(i + i / colours.size()) % dashes.size()],
                   support::gnuplot_quoted(title), i == order.back() ? "" : ", \\");
  }
  return out;
}

/// Draws the curves into the PNG file `picture`, and leaves gnuplot's program beside it (with .gp). Returns
/// an empty text, or one line that says why there is no picture; one that was there before stays then.
/// FileError if the program cannot be written.
[[nodiscard]] inline std::string draw_picture(const std::vector<Curve>& curves, const Axes& axes,
                                              const std::filesystem::path& picture) {
  const auto means = averaged(curves);
  if (means.empty()) return "there are no curves to draw";
  return support::run_gnuplot(gnuplot_program(means, axes, picture), picture);
}

}  // namespace arithmetic
