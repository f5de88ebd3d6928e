#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/gnuplot.hpp"

/// A picture of error rates over training time, drawn by gnuplot.
namespace g2p {

/// One evaluation during training.
struct CurvePoint {
  std::int64_t step = 0;
  double seconds = 0;  ///< of training so far
  double wer = 0;      ///< greedy word error rate, a fraction
};

/// One line of the picture. Curves that share a label (several seeds) are averaged step by step; a curve of
/// one point is drawn as a level line (a teacher, say).
struct Curve {
  std::string label = {};
  std::uint64_t seed = 0;
  std::vector<CurvePoint> points = {};
};

/// The curves with their seeds averaged, in the order of the labels' first appearance. Only steps that every
/// seed has are kept, so that no line jumps where a seed ends.
[[nodiscard]] inline std::vector<Curve> averaged(const std::vector<Curve>& curves) {
  struct Sum {
    int count = 0;
    double seconds = 0, wer = 0;
  };
  std::vector<std::pair<Curve, int>> out;  // and how many seeds
  std::map<std::string, std::map<std::int64_t, Sum>> sums;
  for (const Curve& curve : curves) {
    auto at = std::ranges::find(out, curve.label, [](const auto& pair) { return pair.first.label; });
    if (at == out.end()) at = out.insert(at, {Curve{curve.label, curve.seed, {}}, 0});
    ++at->second;
    for (const CurvePoint& p : curve.points) {
      Sum& sum = sums[curve.label][p.step];
      ++sum.count, sum.seconds += p.seconds, sum.wer += p.wer;
    }
  }
  std::vector<Curve> means;
  for (auto& [curve, seeds] : out) {
    for (const auto& [step, sum] : sums[curve.label])
      if (sum.count == seeds) curve.points.push_back({step, sum.seconds / seeds, sum.wer / seeds});
    if (!curve.points.empty()) means.push_back(std::move(curve));
  }
  return means;
}

/// The program that makes gnuplot draw the curves into `picture`, data included.
[[nodiscard]] inline std::string gnuplot_program(const std::vector<Curve>& curves,
                                                 const std::filesystem::path& picture) {
  // Okabe and Ito's colours, which colour-blind people can tell apart too, without their yellow
  constexpr std::array colours{"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                               "#000000", "#56B4E9", "#E69F00", "#7F3C8D"};
  constexpr std::array dashes{"solid", "(12,4)", "(3,3)", "(12,4,3,4)", "(20,6)"};
  constexpr std::array symbols{7, 5, 9, 11, 13, 6, 4, 8};  // of points: discs, squares, triangles ...

  double longest = 0;
  for (const Curve& curve : curves) longest = std::max(longest, curve.points.back().seconds);
  const bool in_minutes = longest > 600;
  const double unit = in_minutes ? 60 : 1;

  std::string out;
  auto end = std::back_inserter(out);
  for (std::size_t i = 0; i < curves.size(); ++i) {
    fmt::format_to(end, "$curve{} << END\n", i);
    const auto& points = curves[i].points;
    if (points.size() == 1)
      fmt::format_to(end, "0 {0}\n{1} {0}\n", 100 * points[0].wer, std::max(longest, 1e-9) / unit);
    else
      for (const CurvePoint& p : points) fmt::format_to(end, "{} {}\n", p.seconds / unit, 100 * p.wer);
    out += "END\n";
  }
  fmt::format_to(
      end,
      "set terminal pngcairo size 1200,800 font ',15' linewidth 1 noenhanced background '#FFFFFF'\n"
      "if (!exists('picture')) picture = {}\n"
      "set output picture\n"
      "set title 'Word error rate of the student while it is trained' font ',18' offset 0,0.3\n"
      "set xlabel 'training time in {}' offset 0,-0.3\n"
      "set ylabel 'word error rate, greedy, in %' offset -0.5,0\n"
      "set border 3 linewidth 1.2 linecolor '#555555'\n"
      "set tics nomirror out textcolor '#333333'\n"
      "set grid xtics ytics linetype 1 linecolor '#E4E4E4' linewidth 1\n"
      "set key outside right top vertical Left reverse samplen 3.5 spacing {} font ',{}'\n"
      "set offsets 0,0,graph 0.04,graph 0.04\n"
      "set xrange [0:{}]\n"
      "plot \\\n",
      support::gnuplot_quoted(picture.string()), in_minutes ? "minutes" : "seconds",
      curves.size() > 16 ? 1.15 : 1.45, curves.size() > 24 ? 10 : 13, std::max(longest, 1e-9) / unit * 1.02);
  // the legend follows the lines' right ends from top to bottom
  std::vector<std::size_t> order(curves.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::size_t i) { return curves[i].points.back().wer; });
  for (const std::size_t i : order) {
    const bool level = curves[i].points.size() == 1;
    const std::string title = fmt::format("{}  {:.1f} %", curves[i].label, 100 * curves[i].points.back().wer);
    const std::string colour = colours[i % colours.size()];
    const auto round = i / colours.size();
    fmt::format_to(end, "  $curve{} with {} linecolor '{}' dashtype {}", i,
                   level ? "lines linewidth 2" : "linespoints linewidth 2.6", colour,
                   level ? "(6,5)" : dashes[(i + round) % dashes.size()]);
    if (!level) fmt::format_to(end, " pointtype {} pointsize 0.9", symbols[(i + 3 * round) % symbols.size()]);
    fmt::format_to(end, " title {}{}\n", support::gnuplot_quoted(title), i == order.back() ? "" : ", \\");
  }
  return out;
}

/// Draws the curves into the PNG file `picture`, and leaves gnuplot's program beside it (`picture` with .gp)
/// for whoever wants another picture. Returns an empty text, or one line that says why there is no picture;
/// one that was there before stays then. FileError if the program cannot be written.
[[nodiscard]] inline std::string draw_picture(const std::vector<Curve>& curves,
                                              const std::filesystem::path& picture,
                                              const std::string& gnuplot = "gnuplot") {
  const auto means = averaged(curves);
  if (means.empty()) return "there are no curves to draw";
  return support::run_gnuplot(gnuplot_program(means, picture), picture, gnuplot);
}

}  // namespace g2p
