#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

/// Whether counts come from a distribution, by Pearson's chi-square test.
namespace retort::test {

/// P(X > x) for X of the chi-square distribution with `freedom` degrees: the regularised incomplete gamma
/// function Q(freedom / 2, x / 2), by its series (Abramowitz & Stegun 6.5.29) or continued fraction (6.5.31).
inline double chi_square_tail(double x, double freedom) {
  const double a = freedom / 2, z = x / 2;
  if (z <= 0) return 1;
  const double front = std::exp(a * std::log(z) - z - std::lgamma(a));
  if (z < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; term > 1e-17 * sum; ++n) sum += term *= z / (a + n);
    return 1 - front * sum;
  }
  double fraction = 0;  // from the inside out
  for (int n = 400; n > 0; --n) fraction = n * (n - a) / (z + 2 * n + 1 - a - fraction);
  return front / (z + 1 - a - fraction);
}

/// The x with chi_square_tail(x, freedom) = tail.
inline double chi_square_quantile(double tail, double freedom) {
  double low = 0, high = freedom + 1;
  while (chi_square_tail(high, freedom) > tail) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (chi_square_tail(middle, freedom) > tail ? low : high) = middle;
  }
  return high;
}

/// Whether the counts come from this distribution; wrong with probability `error`. What has probability 0
/// must not occur; outcomes of less than 5 expected counts are put together.
inline bool fits(const std::vector<int>& counts, const std::vector<double>& distribution,
                 double error = 1e-6) {
  double draws = 0;
  for (const int count : counts) draws += count;
  struct Cell {
    double mean = 0, count = 0;
  };
  std::vector<Cell> cells;
  Cell rare;
  for (std::size_t v = 0; v < counts.size(); ++v) {
    const Cell cell{distribution[v] * draws, static_cast<double>(counts[v])};
    if (distribution[v] == 0 && counts[v] > 0) return false;
    if (cell.mean >= 5)
      cells.push_back(cell);
    else
      rare.mean += cell.mean, rare.count += cell.count;
  }
  if (rare.mean >= 5 || cells.empty()) {
    cells.push_back(rare);
  } else {
    auto& smallest = *std::ranges::min_element(cells, {}, &Cell::mean);
    smallest.mean += rare.mean, smallest.count += rare.count;
  }
  double sum = 0;
  for (const Cell& c : cells) sum += (c.count - c.mean) * (c.count - c.mean) / c.mean;
  const auto freedom = static_cast<double>(cells.size() - 1);
  return freedom == 0 ? std::abs(sum) < 1e-6 : sum <= chi_square_quantile(error, freedom);
}

}  // namespace retort::test
