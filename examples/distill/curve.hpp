#pragma once

#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "distill/run.hpp"
#include "support/gnuplot.hpp"

namespace distill {

/// gnuplot's program for the held-out curves of a run, data included.
[[nodiscard]] inline std::string curve_program(const Outcome& outcome, const std::filesystem::path& picture) {
  struct Line {
    std::optional<double> CurvePoint::*value;
    const char *color, *title;
  };
  std::vector<Line> lines;
  for (const Line& line :
       {Line{&CurvePoint::reverse_kl, "#0072B2", "reverse KL to the teacher, student''s samples"},
        Line{&CurvePoint::divergence, "#0072B2", "divergence from the teacher''s file, its responses"},
        Line{&CurvePoint::cross_entropy, "#D55E00", "cross-entropy of the responses"}})
    if (!outcome.curve.empty() && outcome.curve.front().*line.value) lines.push_back(line);

  std::string out = "$curve << END\n";
  auto end = std::back_inserter(out);
  for (const CurvePoint& p : outcome.curve) {
    fmt::format_to(end, "{}", p.step);
    for (const Line& line : lines) fmt::format_to(end, " {}", (p.*line.value).value_or(0));
    out += "\n";
  }
  out += "END\n";
  fmt::format_to(
      end,
      "set terminal pngcairo size 1000,640 font ',14' linewidth 1 noenhanced background '#FFFFFF'\n"
      "if (!exists('picture')) picture = {}\n"
      "set output picture\n"
      "set title 'Held-out examples while the student is trained' font ',17'\n"
      "set xlabel 'steps'\n"
      "set ylabel 'nats a token'\n"
      "set border 3 linewidth 1.2 linecolor '#555555'\n"
      "set tics nomirror out textcolor '#333333'\n"
      "set grid xtics ytics linetype 1 linecolor '#E4E4E4'\n"
      "set yrange [0:*]\n"
      "plot ",
      support::gnuplot_quoted(picture.string()));
  for (std::size_t i = 0; i < lines.size(); ++i)
    fmt::format_to(
        end, "{}$curve using 1:{} with linespoints linewidth 2.6 pointtype {} linecolor '{}' title '{}'",
        i > 0 ? ", \\\n  " : "", i + 2, 7 - 2 * i, lines[i].color, lines[i].title);
  out += "\n";
  return out;
}

}  // namespace distill
