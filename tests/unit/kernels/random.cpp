#include "retort/kernels/cpu/random.hpp"

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;

TEMPLATE_TEST_CASE("fills are the numbers of their key, in order, scaled and shifted", "", float, double) {
  using T = TestType;
  const RandomKey key{5, 6};
  for (const Index n : {0, 1, 7, 100}) {
    std::vector<T> x(static_cast<std::size_t>(n)), u = x;
    kernels::fill_normal(CpuDevice{}, key, n, T(2), T(0.5), x.data());
    kernels::fill_uniform(CpuDevice{}, key, n, T(-3), T(5), u.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(x[i] == Approx(2 + 0.5 * key.normal(i)).epsilon(1e-6));
      CHECK(u[i] == Approx(-3 + 8 * static_cast<double>(key.uniform<T>(i))).margin(1e-6));
      CHECK((u[i] >= T(-3) && u[i] <= T(5)));
    }
  }
  CHECK(test::same_on_any_thread_count([&] {
    std::vector<T> x(50'001);
    kernels::fill_normal(CpuDevice{}, key, 50'001, T(0), T(1), x.data());
    return x;
  }));
}

TEMPLATE_TEST_CASE("dropout keeps a share 1 - p of the elements and scales them by 1 / (1 - p)", "", float,
                   double) {
  using T = TestType;
  const Index n = 100'000;
  const std::vector<T> x(n, T(3));
  for (const double p : {0.1, 0.5, 0.9}) {
    std::vector<T> y(n);
    kernels::dropout(CpuDevice{}, Write::overwrite, RandomKey{1, 2}, n, p, x.data(), y.data());
    const auto kept = std::count(y.begin(), y.end(), static_cast<T>(T(3) * static_cast<T>(1 / (1 - p))));
    CHECK(kept + std::count(y.begin(), y.end(), T(0)) == n);
    CHECK(static_cast<double>(kept) == Approx((1 - p) * n).margin(4 * std::sqrt(p * (1 - p) * n)));
  }
}

TEMPLATE_TEST_CASE("dropout drops element i exactly when uniform number i of the key is below p", "", float,
                   double) {
  using T = TestType;
  const RandomKey key{8, 1};
  for (const Index n : {1, 2, 3, 4, 5, 101}) {
    const std::vector<T> x(static_cast<std::size_t>(n), T(1));
    std::vector<T> y(x.size() + 1, T(-1));
    kernels::dropout(CpuDevice{}, Write::overwrite, key, n, 0.3, x.data(), y.data());
    for (std::size_t i = 0; i < x.size(); ++i) CHECK((y[i] == T(0)) == (key.uniform<double>(i) < 0.3));
    CHECK(y.back() == T(-1));
  }
}

TEMPLATE_TEST_CASE("dropout repeats with its key, differs with another, may add and may work in place", "",
                   float, double) {
  using T = TestType;
  const Index n = 1001;
  const auto x = test::normals<T>(n, 1), start = test::normals<T>(n, 2);
  const auto run = [&](RandomKey key, Write write) {
    auto y = start;
    kernels::dropout(CpuDevice{}, write, key, n, 0.5, x.data(), y.data());
    return y;
  };
  const auto once = run({1, 1}, Write::overwrite);
  CHECK(once == run({1, 1}, Write::overwrite));
  CHECK(once != run({1, 2}, Write::overwrite));
  std::vector<double> sum;
  for (std::size_t i = 0; i < once.size(); ++i)
    sum.push_back(static_cast<double>(start[i]) + static_cast<double>(once[i]));
  CHECK(test::difference(run({1, 1}, Write::accumulate), sum) <= test::rounding<T>());
  auto in_place = x;
  kernels::dropout(CpuDevice{}, Write::overwrite, RandomKey{1, 1}, n, 0.5, in_place.data(), in_place.data());
  CHECK(in_place == once);
}

TEMPLATE_TEST_CASE("dropout gives the same bits on any number of threads", "", float, double) {
  using T = TestType;
  const Index n = 70'003;
  const auto x = test::normals<T>(n, 1), start = test::normals<T>(n, 2);
  for (const Write write : {Write::overwrite, Write::accumulate})
    CHECK(test::same_on_any_thread_count([&] {
      auto y = start;
      kernels::dropout(CpuDevice{}, write, RandomKey{3, 3}, n, 0.4, x.data(), y.data());
      return y;
    }));
}
