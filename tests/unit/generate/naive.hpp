#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "retort/generate/samplers.hpp"

/// The sampling policies a second time, by sorting everything in double.
namespace retort::test::naive {

using Row = std::vector<double>;
constexpr double never = -std::numeric_limits<double>::infinity();

inline Row softmax(const Row& z) {
  Row p = z;
  const double high = *std::ranges::max_element(z);
  double total = 0;
  for (double& x : p) total += x = std::exp(x - high);
  for (double& x : p) x /= total;
  return p;
}

/// Token ids, the most probable first; of equals the lower id.
inline std::vector<std::size_t> ranking(const Row& z) {
  std::vector<std::size_t> ids(z.size());
  std::iota(ids.begin(), ids.end(), 0u);
  std::ranges::stable_sort(ids, [&](std::size_t a, std::size_t b) { return z[a] > z[b]; });
  return ids;
}

inline Row keep_first(const Row& z, std::size_t count) {
  Row out(z.size(), never);
  const auto ids = ranking(z);
  for (std::size_t i = 0; i < std::min(count, z.size()); ++i) out[ids[i]] = z[ids[i]];
  return out;
}

inline Row filter(const Temperature& t, Row z) {
  for (double& x : z) x /= t.value;
  return z;
}
inline Row filter(const TopK& t, const Row& z) {
  return t.k == 0 ? z : keep_first(z, static_cast<std::size_t>(t.k));
}
inline Row filter(const TopP& t, const Row& z) {
  const Row p = softmax(z);
  const auto ids = ranking(z);
  double sum = 0;
  std::size_t count = 0;
  while (count < ids.size() && sum < t.p) sum += p[ids[count++]];
  return t.p == 1 ? z : keep_first(z, count);
}
template <class... F>
Row filter(const Filters<F...>& all, Row z) {
  std::apply([&](const auto&... f) { ((z = filter(f, z)), ...); }, all.filters);
  return z;
}

}  // namespace retort::test::naive
