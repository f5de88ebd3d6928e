#include "retort/kernels/cpu/update.hpp"

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;

namespace {

double at(const auto& x, std::size_t i) {
  return static_cast<double>(x[i]);
}

}  // namespace

TEMPLATE_TEST_CASE("adamw follows algorithm 2 of Loshchilov and Hutter, with its gradient scaled", "", float,
                   double) {
  using T = TestType;
  for (const Index n : {1, 7, 17, 31, 64, 100}) {
    auto w = test::normals<T>(n, 1), m = std::vector<T>(w.size()), v = m;
    std::vector<double> want_w(w.begin(), w.end()), want_m(w.size()), want_v(w.size());
    const double rate = 0.01, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, decay = 0.1, clip = 0.5;
    for (int step = 1; step <= 4; ++step) {
      const auto g = test::normals<T>(n, static_cast<std::uint64_t>(step + 10));
      const double c1 = 1 - std::pow(beta1, step), c2 = 1 - std::pow(beta2, step);
      kernels::adamw(CpuDevice{}, {rate, beta1, beta2, epsilon, decay, c1, c2, clip}, n, w.data(), g.data(),
                     m.data(), v.data());
      for (std::size_t i = 0; i < w.size(); ++i) {
        const double gradient = clip * at(g, i);
        want_m[i] = beta1 * want_m[i] + (1 - beta1) * gradient;
        want_v[i] = beta2 * want_v[i] + (1 - beta2) * gradient * gradient;
        want_w[i] -= rate * (want_m[i] / c1 / (std::sqrt(want_v[i] / c2) + epsilon) + decay * want_w[i]);
      }
    }
    CHECK(test::difference(w, want_w) <= test::rounding<T>(4));
    CHECK(test::difference(m, want_m) <= test::rounding<T>(4));
    CHECK(test::difference(v, want_v) <= test::rounding<T>(4));
  }
}

TEMPLATE_TEST_CASE("adamw leaves a weight without gradient and decay alone, and its first step is the rate",
                   "", float, double) {
  using T = TestType;
  std::vector<T> w{T(2), T(2)}, g{T(0), T(1e-3)}, m(2), v(2);
  kernels::adamw(CpuDevice{}, {0.1, 0.9, 0.999, 1e-8, 0, 1 - 0.9, 1 - 0.999, 1}, 2, w.data(), g.data(),
                 m.data(), v.data());
  CHECK(w[0] == T(2));
  CHECK(w[1] == Approx(1.9).epsilon(1e-5));
}

TEMPLATE_TEST_CASE("sgd follows its formula, with momentum, decay and Nesterov's correction", "", float,
                   double) {
  using T = TestType;
  for (const Index n : {1, 7, 17, 64})
    for (const bool nesterov : {false, true}) {
      auto w = test::normals<T>(n, 1), velocity = std::vector<T>(w.size());
      std::vector<double> want(w.begin(), w.end()), want_velocity(w.size());
      const double rate = 0.05, momentum = 0.8, decay = 0.02, clip = 2;
      for (int step = 0; step < 4; ++step) {
        const auto g = test::normals<T>(n, static_cast<std::uint64_t>(step + 10));
        kernels::sgd(CpuDevice{}, {rate, momentum, decay, nesterov, clip}, n, w.data(), g.data(),
                     velocity.data());
        for (std::size_t i = 0; i < w.size(); ++i) {
          const double gradient = clip * at(g, i) + decay * want[i];
          want_velocity[i] = momentum * want_velocity[i] + gradient;
          want[i] -= rate * (nesterov ? gradient + momentum * want_velocity[i] : want_velocity[i]);
        }
      }
      CHECK(test::difference(w, want) <= test::rounding<T>(4));
      CHECK(test::difference(velocity, want_velocity) <= test::rounding<T>(4));
    }
}

TEMPLATE_TEST_CASE("optimizer steps give the same bits on any number of threads", "", float, double) {
  using T = TestType;
  const Index n = 60'007;
  const auto g = test::normals<T>(n, 2);
  CHECK(test::same_on_any_thread_count([&] {
    auto w = test::normals<T>(n, 1), m = test::normals<T>(n, 3), v = m;
    for (T& x : v) x *= x;
    kernels::adamw(CpuDevice{}, {0.1, 0.9, 0.999, 1e-8, 0.01, 0.3, 0.2, 1}, n, w.data(), g.data(), m.data(),
                   v.data());
    kernels::sgd(CpuDevice{}, {0.1, 0.9, 0.01, true, 1}, n, w.data(), g.data(), m.data());
    return w;
  }));
}
