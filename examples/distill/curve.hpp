#pragma once

#include <filesystem>
#include <iterator>
#include <string>

#include "distill/run.hpp"
#include "support/gnuplot.hpp"

namespace distill {

/// gnuplot's program for the held-out curves of a run, data included.
[[nodiscard]] inline std::string curve_program(const Outcome& outcome, const std::filesystem::path& picture) {
  std::string out = "$curve << END\n";
  auto end = std::back_inserter(out);
  const bool both = !outcome.curve.empty() && outcome.curve.front().cross_entropy.has_value();
  for (const CurvePoint& p : outcome.curve)
    fmt::format_to(end, "{} {} {}\n", p.step, p.reverse_kl, p.cross_entropy.value_or(0));
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
      "plot $curve using 1:2 with linespoints linewidth 2.6 pointtype 7 linecolor '#0072B2' "
      "title 'reverse KL to the teacher, student''s samples'{}\n",
      support::gnuplot_quoted(picture.string()),
      both ? ", \\\n  $curve using 1:3 with linespoints linewidth 2.6 pointtype 5 linecolor "
             "'#D55E00' title 'cross-entropy of the responses'"
           : "");
  return out;
}

}  // namespace distill
