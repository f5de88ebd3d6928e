#include "retort/kernels/cpu/norm.hpp"

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;

namespace {

double at(const auto& x, Index i) {
  return static_cast<double>(x[static_cast<std::size_t>(i)]);
}

/// A norm of (rows, n), its inputs, and what the kernels made of them.
template <class T>
struct Norm {
  Index rows, n;
  bool centred;  // layer norm, else RMS norm
  double eps;
  std::vector<T> x, gain, bias, dy, y, mean, rstd;

  Norm(Index rows_, Index n_, bool centred_, double eps_, double offset = 0)
      : rows(rows_),
        n(n_),
        centred(centred_),
        eps(eps_),
        x(test::normals<T>(rows * n, 1, 2)),
        gain(test::normals<T>(n, 2)),
        bias(test::normals<T>(n, 3)),
        dy(test::normals<T>(rows * n, 4)),
        y(x.size()),
        mean(static_cast<std::size_t>(rows)),
        rstd(static_cast<std::size_t>(rows)) {
    for (T& value : x) value += static_cast<T>(offset);
    if (centred)
      kernels::layer_norm(CpuDevice{}, rows, n, x.data(), gain.data(), bias.data(), static_cast<T>(eps),
                          y.data(), mean.data(), rstd.data());
    else
      kernels::rms_norm(CpuDevice{}, rows, n, x.data(), gain.data(), static_cast<T>(eps), y.data(),
                        rstd.data());
  }

  const T* means() const { return centred ? mean.data() : nullptr; }

  /// (x - mean) / sqrt(var + eps) or x / sqrt(mean(x^2) + eps), in double.
  std::vector<double> normal() const {
    std::vector<double> out;
    for (Index r = 0; r < rows; ++r) {
      const double m = row_mean(r), s = row_scale(r);
      for (Index i = 0; i < n; ++i) out.push_back((at(x, r * n + i) - m) * s);
    }
    return out;
  }
  double row_mean(Index r) const {
    double m = 0;
    for (Index i = 0; centred && i < n; ++i) m += at(x, r * n + i) / static_cast<double>(n);
    return m;
  }
  double row_scale(Index r) const {
    const double m = row_mean(r);
    double square = 0;
    for (Index i = 0; i < n; ++i) square += std::pow(at(x, r * n + i) - m, 2) / static_cast<double>(n);
    return 1 / std::sqrt(square + static_cast<double>(static_cast<T>(eps)));
  }
};

constexpr Index sizes[] = {1, 7, 17, 31, 64, 100};

}  // namespace

TEMPLATE_TEST_CASE("layer norm and RMS norm equal their definitions", "", float, double) {
  for (const bool centred : {true, false})
    for (const Index n : sizes)
      for (const Index rows : {1, 6}) {
        CAPTURE(centred, n, rows);
        const Norm<TestType> norm(rows, n, centred, 1e-5);
        const auto normal = norm.normal();
        std::vector<double> expected;
        for (Index i = 0; i < rows * n; ++i)
          expected.push_back(at(normal, i) * at(norm.gain, i % n) + (centred ? at(norm.bias, i % n) : 0));
        CHECK(test::difference(norm.y, expected) <= test::rounding<TestType>(4));
        for (Index r = 0; r < rows; ++r) {
          CHECK(at(norm.rstd, r) == Approx(norm.row_scale(r)).epsilon(test::rounding<TestType>(4)));
          if (centred)
            CHECK(at(norm.mean, r) == Approx(norm.row_mean(r)).margin(test::rounding<TestType>(4)));
        }
      }
}

TEMPLATE_TEST_CASE("layer norm of a row far from 0 loses no more than the inputs' rounding", "", float,
                   double) {
  const Norm<TestType> norm(4, 100, true, 1e-5, 1000);
  const auto normal = norm.normal();
  std::vector<double> expected;
  for (Index i = 0; i < 400; ++i)
    expected.push_back(at(normal, i) * at(norm.gain, i % 100) + at(norm.bias, i % 100));
  CHECK(test::difference(norm.y, expected) <= 1000 * test::rounding<TestType>());
}

TEMPLATE_TEST_CASE("a row of equal numbers is normalised to 0 by layer norm", "", float, double) {
  using T = TestType;
  std::vector<T> x(17, T(3)), gain(17, T(2)), bias(17, T(0.5)), y(17), mean(1), rstd(1);
  kernels::layer_norm(CpuDevice{}, 1, 17, x.data(), gain.data(), bias.data(), T(1e-5), y.data(), mean.data(),
                      rstd.data());
  CHECK(y == bias);
}

TEMPLATE_TEST_CASE("gradients of both norms equal their formulas, overwriting and adding", "", float,
                   double) {
  using T = TestType;
  for (const bool centred : {true, false})
    for (const Index n : sizes)
      for (const Index rows : {1, 5, 130})
        for (const Write write : {Write::overwrite, Write::accumulate}) {
          CAPTURE(centred, n, rows, write == Write::accumulate);
          const Norm<T> norm(rows, n, centred, 1e-3);
          const auto normal = norm.normal();
          auto dx = test::normals<T>(rows * n, 7), dgain = test::normals<T>(n, 8);
          std::vector<double> want_x(dx.begin(), dx.end()), want_gain(dgain.begin(), dgain.end());
          if (write == Write::overwrite) {
            std::fill(want_x.begin(), want_x.end(), 0.0);
            std::fill(want_gain.begin(), want_gain.end(), 0.0);
          }
          for (Index r = 0; r < rows; ++r) {
            double g_mean = 0, gx_mean = 0;
            for (Index i = 0; i < n; ++i) {
              const double g = at(norm.dy, r * n + i) * at(norm.gain, i);
              g_mean += g / static_cast<double>(n);
              gx_mean += g * at(normal, r * n + i) / static_cast<double>(n);
              want_gain[static_cast<std::size_t>(i)] += at(norm.dy, r * n + i) * at(normal, r * n + i);
            }
            for (Index i = 0; i < n; ++i) {
              const double g = at(norm.dy, r * n + i) * at(norm.gain, i);
              want_x[static_cast<std::size_t>(r * n + i)] +=
                  norm.row_scale(r) * (g - (centred ? g_mean : 0) - at(normal, r * n + i) * gx_mean);
            }
          }
          kernels::norm_backward_input(CpuDevice{}, write, rows, n, norm.x.data(), norm.gain.data(),
                                       norm.means(), norm.rstd.data(), norm.dy.data(), dx.data());
          kernels::norm_backward_gain(CpuDevice{}, write, rows, n, norm.x.data(), norm.means(),
                                      norm.rstd.data(), norm.dy.data(), dgain.data());
          // n = 1 without its mean is 0 times a scale of up to 1 / sqrt(eps)
          CHECK(test::difference(dx, want_x) <= test::rounding<T>(4) * (centred && n == 1 ? 100 : 4));
          CHECK(test::difference(dgain, want_gain) <= test::rounding<T>(static_cast<double>(rows) * 4));
        }
}

TEMPLATE_TEST_CASE("column sums and bias rows equal plain loops", "", float, double) {
  using T = TestType;
  for (const Index n : sizes)
    for (const Index rows : {0, 1, 7, 64, 200}) {
      CAPTURE(n, rows);
      const auto x = test::normals<T>(rows * n, 1), bias = test::normals<T>(n, 2);
      std::vector<double> sums(static_cast<std::size_t>(n)), shifted;
      for (Index i = 0; i < rows * n; ++i) {
        sums[static_cast<std::size_t>(i % n)] += at(x, i);
        shifted.push_back(at(x, i) + at(bias, i % n));
      }
      std::vector<T> given(static_cast<std::size_t>(n), std::numeric_limits<T>::quiet_NaN()), y = x;
      kernels::sum_rows(CpuDevice{}, Write::overwrite, rows, n, x.data(), given.data());
      CHECK(test::difference(given, sums) <= test::rounding<T>(static_cast<double>(8 * rows)));
      kernels::sum_rows(CpuDevice{}, Write::accumulate, rows, n, x.data(), given.data());
      for (double& s : sums) s *= 2;
      CHECK(test::difference(given, sums) <= test::rounding<T>(static_cast<double>(8 * rows)));
      kernels::add_bias(CpuDevice{}, rows, n, bias.data(), y.data());
      CHECK(test::difference(y, shifted) <= test::rounding<T>());
    }
}

TEMPLATE_TEST_CASE("norms and column sums give the same bits on any number of threads", "", float, double) {
  using T = TestType;
  for (const Index n : {45, 300})
    CHECK(test::same_on_any_thread_count([&] {
      const Norm<T> norm(403, n, true, 1e-5);
      std::vector<T> all = norm.y, dx(norm.x.size()), dgain(static_cast<std::size_t>(n)), sums = dgain;
      kernels::norm_backward_input(CpuDevice{}, Write::overwrite, 403, n, norm.x.data(), norm.gain.data(),
                                   norm.mean.data(), norm.rstd.data(), norm.dy.data(), dx.data());
      kernels::norm_backward_gain(CpuDevice{}, Write::overwrite, 403, n, norm.x.data(), norm.mean.data(),
                                  norm.rstd.data(), norm.dy.data(), dgain.data());
      kernels::sum_rows(CpuDevice{}, Write::overwrite, 403, n, norm.x.data(), sums.data());
      for (const auto* part : {&dx, &dgain, &sums}) all.insert(all.end(), part->begin(), part->end());
      return all;
    }));
}
