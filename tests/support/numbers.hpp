#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "retort/core/parallel.hpp"
#include "retort/core/philox.hpp"
#include "retort/core/shape.hpp"

/// Inputs for tests and comparisons of results. Independent of the kernels that are tested with them.
namespace retort::test {

/// Standard normal numbers times `deviation`; another `stream` gives other numbers.
template <class T>
std::vector<T> normals(Index count, std::uint64_t stream, double deviation = 1) {
  const RandomKey key{2026, stream};
  std::vector<T> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(deviation * key.normal(i));
  return x;
}

/// Whole numbers from 0 to below `limit`.
inline std::vector<std::int32_t> indices(Index count, Index limit, std::uint64_t stream) {
  const RandomKey key{77, stream};
  std::vector<std::int32_t> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<std::int32_t>(key.uniform(i) * static_cast<double>(limit));
  return x;
}

/// Largest |a - b| / max(1, |b|) over all elements; infinite if the sizes differ, or if one is NaN and the
/// other is not.
template <class A, class B>
double difference(const A& a, const B& b) {
  if (std::size(a) != std::size(b)) return HUGE_VAL;
  double worst = 0;
  for (std::size_t i = 0; i < std::size(a); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double d = std::abs(x - y) / std::max(1.0, std::abs(y));
    worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
  }
  return worst;
}

/// How far rounding may take a result of `T` after about `terms` additions.
template <class T>
double rounding(double terms = 1) {
  return 8 * std::sqrt(std::max(1.0, terms)) * (sizeof(T) == 4 ? 6e-8 : 1.2e-16);
}

/// Sets the number of threads for the life of a scope.
class Threads {
 public:
  explicit Threads(int count) : before_(thread_count()) { set_thread_count(count); }
  ~Threads() { set_thread_count(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

/// `f()` on one thread and on several gives the same bits.
template <class F>
bool same_on_any_thread_count(F f) {
  const auto on = [&](int threads) {
    const Threads scope(threads);
    return f();
  };
  const auto one = on(1);
  return one == on(2) && one == on(3);
}

}  // namespace retort::test
