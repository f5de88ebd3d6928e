#include "retort/kernels/cpu/softmax.hpp"

#include <functional>

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// log softmax of a row in double; all of it -inf for a row of nothing but -inf.
template <class T>
std::vector<double> exact_log_softmax(const T* x, Index n) {
  double high = -infinity, total = 0;
  for (Index i = 0; i < n; ++i) high = std::max(high, static_cast<double>(x[i]));
  std::vector<double> y(static_cast<std::size_t>(n), -infinity);
  if (high == -infinity) return y;
  for (Index i = 0; i < n; ++i) total += std::exp(static_cast<double>(x[i]) - high);
  for (Index i = 0; i < n; ++i)
    y[static_cast<std::size_t>(i)] = static_cast<double>(x[i]) - high - std::log(total);
  return y;
}

/// Rows of logits: spread out, with large offsets, with -inf entries.
template <class T>
std::vector<T> logits(Index rows, Index n) {
  auto x = test::normals<T>(rows * n, static_cast<std::uint64_t>(n), 3);
  for (Index r = 0; r < rows; ++r)
    for (Index i = 0; i < n; ++i) {
      T& z = x[static_cast<std::size_t>(r * n + i)];
      if (r % 4 == 1) z += T(90);
      if (r % 4 == 2) z *= T(20);
      if (r % 4 == 3 && i % 3 == 1) z = -std::numeric_limits<T>::infinity();
    }
  return x;
}

constexpr Index sizes[] = {1, 2, 7, 8, 17, 31, 64, 100, 333};

}  // namespace

TEMPLATE_TEST_CASE("log_sum_exp, softmax and log_softmax equal their definitions in double", "", float,
                   double) {
  using T = TestType;
  const Index rows = 8;
  for (const Index n : sizes) {
    CAPTURE(n);
    const auto x = logits<T>(rows, n);
    std::vector<T> y(x.size()), log_y(x.size());
    kernels::softmax(CpuDevice{}, rows, n, x.data(), y.data());
    kernels::log_softmax(CpuDevice{}, rows, n, x.data(), log_y.data());
    std::vector<double> p, log_p;
    for (Index r = 0; r < rows; ++r) {
      const auto row = exact_log_softmax(x.data() + r * n, n);
      for (const double l : row) log_p.push_back(l), p.push_back(std::exp(l));
      const double normaliser = static_cast<double>(x[static_cast<std::size_t>(r * n)]) - row[0];
      CHECK(static_cast<double>(kernels::cpu::log_sum_exp(x.data() + r * n, n)) ==
            Approx(normaliser).epsilon(test::rounding<T>()));
    }
    CHECK(test::difference(y, p) <= test::rounding<T>(8));
    CHECK(test::difference(log_y, log_p) <= test::rounding<T>(8));
  }
}

TEMPLATE_TEST_CASE("the sum of a softmax row is 1 also for a vocabulary of 50,257", "", float, double) {
  using T = TestType;
  const Index n = 50'257;
  const auto x = test::normals<T>(n, 9, 2);
  std::vector<T> y(x.size());
  kernels::softmax(CpuDevice{}, 1, n, x.data(), y.data());
  double total = 0;
  for (const T p : y) total += static_cast<double>(p);
  CHECK(total == Approx(1).epsilon(sizeof(T) == 4 ? 2e-7 : 1e-14));
}

TEMPLATE_TEST_CASE("softmax and log_softmax may overwrite their input", "", float, double) {
  using T = TestType;
  const auto x = logits<T>(4, 37);
  for (const auto kernel : {&kernels::softmax<T>, &kernels::log_softmax<T>}) {
    std::vector<T> apart(x.size()), in_place = x;
    kernel(CpuDevice{}, 4, 37, x.data(), apart.data());
    kernel(CpuDevice{}, 4, 37, in_place.data(), in_place.data());
    CHECK(apart == in_place);
  }
}

TEMPLATE_TEST_CASE("a row of nothing but -inf has softmax 0 and log sum exp -inf", "", float, double) {
  using T = TestType;
  const T low = -std::numeric_limits<T>::infinity();
  for (const Index n : sizes) {
    const std::vector<T> x(static_cast<std::size_t>(n), low);
    std::vector<T> y(x.size(), T(5));
    kernels::softmax(CpuDevice{}, 1, n, x.data(), y.data());
    CHECK(std::count(y.begin(), y.end(), T(0)) == n);
    CHECK(kernels::cpu::log_sum_exp(x.data(), n) == low);
  }
  CHECK(kernels::cpu::log_sum_exp(static_cast<const T*>(nullptr), 0) == low);
}

TEMPLATE_TEST_CASE("one NaN anywhere in a row makes its softmax and log sum exp NaN", "", float, double) {
  using T = TestType;
  for (const Index n : sizes)
    for (const Index where : {Index{0}, n / 2, n - 1})
      for (const T others : {T(1), -std::numeric_limits<T>::infinity()}) {
        CAPTURE(n, where, others);
        std::vector<T> x(static_cast<std::size_t>(n), others), y(x.size());
        x[static_cast<std::size_t>(where)] = std::numeric_limits<T>::quiet_NaN();
        CHECK(std::isnan(kernels::cpu::row_max(x.data(), n)));
        CHECK(std::isnan(kernels::cpu::log_sum_exp(x.data(), n)));
        kernels::softmax(CpuDevice{}, 1, n, x.data(), y.data());
        CHECK(std::isnan(y[static_cast<std::size_t>(where)]));
        kernels::log_softmax(CpuDevice{}, 1, n, x.data(), y.data());
        CHECK(std::isnan(y[static_cast<std::size_t>(where)]));
      }
}

TEMPLATE_TEST_CASE("row_max finds the largest element wherever it stands, infinities included", "", float,
                   double) {
  using T = TestType;
  const T inf = std::numeric_limits<T>::infinity();
  for (const Index n : sizes)
    for (Index where = 0; where < n; ++where) {
      std::vector<T> x(static_cast<std::size_t>(n), T(-2));
      x[static_cast<std::size_t>(where)] = T(3);
      CHECK(kernels::cpu::row_max(x.data(), n) == T(3));
      x[static_cast<std::size_t>(where)] = inf;
      CHECK(kernels::cpu::row_max(x.data(), n) == inf);
    }
}

TEMPLATE_TEST_CASE("gradients of softmax and log_softmax equal their formulas, overwriting and adding", "",
                   float, double) {
  using T = TestType;
  const Index rows = 5;
  for (const Index n : sizes)
    for (const Write write : {Write::overwrite, Write::accumulate}) {
      CAPTURE(n, write == Write::accumulate);
      const auto x = logits<T>(rows, n), dy = test::normals<T>(rows * n, 21);
      const auto before = test::normals<T>(rows * n, 22);
      std::vector<T> y(x.size()), log_y(x.size());
      kernels::softmax(CpuDevice{}, rows, n, x.data(), y.data());
      kernels::log_softmax(CpuDevice{}, rows, n, x.data(), log_y.data());
      auto d = before, d_log = before;
      kernels::softmax_backward(CpuDevice{}, write, rows, n, y.data(), dy.data(), d.data());
      kernels::log_softmax_backward(CpuDevice{}, write, rows, n, log_y.data(), dy.data(), d_log.data());
      std::vector<double> expected(x.size()), expected_log(x.size());
      for (Index r = 0; r < rows; ++r) {
        double dot = 0, sum = 0;
        for (Index i = r * n; i < (r + 1) * n; ++i) {
          const auto u = static_cast<std::size_t>(i);
          dot += static_cast<double>(y[u]) * static_cast<double>(dy[u]);
          sum += static_cast<double>(dy[u]);
        }
        for (Index i = r * n; i < (r + 1) * n; ++i) {
          const auto u = static_cast<std::size_t>(i);
          const double start = write == Write::accumulate ? static_cast<double>(before[u]) : 0;
          expected[u] = start + static_cast<double>(y[u]) * (static_cast<double>(dy[u]) - dot);
          expected_log[u] =
              start + static_cast<double>(dy[u]) - std::exp(static_cast<double>(log_y[u])) * sum;
        }
      }
      CHECK(test::difference(d, expected) <= test::rounding<T>(static_cast<double>(n)));
      CHECK(test::difference(d_log, expected_log) <= test::rounding<T>(static_cast<double>(n)));
    }
}

TEMPLATE_TEST_CASE("softmax gives the same bits on any number of threads and wherever a row stands", "",
                   float, double) {
  using T = TestType;
  const Index rows = 601, n = 77;
  const auto x = logits<T>(rows, n);
  const auto run = [&] {
    std::vector<T> y(x.size());
    kernels::softmax(CpuDevice{}, rows, n, x.data(), y.data());
    return y;
  };
  CHECK(test::same_on_any_thread_count(run));
  const auto all = run();
  std::vector<T> one(static_cast<std::size_t>(n));
  kernels::softmax(CpuDevice{}, 1, n, x.data() + 500 * n, one.data());
  CHECK(std::equal(one.begin(), one.end(), all.begin() + 500 * n));
}
