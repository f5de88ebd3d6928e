#include "retort/core/math.hpp"

#include <limits>

#include "catch.hpp"
#include "retort/core/activations.hpp"

using namespace retort;

TEMPLATE_TEST_CASE("log_add_exp is log(exp a + exp b), without overflow", "", float, double) {
  using T = TestType;
  const T inf = std::numeric_limits<T>::infinity();
  const T tolerance = 4 * std::numeric_limits<T>::epsilon();
  for (const T a : {T(-50), T(-3), T(0), T(1.5), T(20)})
    for (const T b : {T(-40), T(-3), T(0.25), T(30)}) {
      const long double exact =
          std::log(std::exp(static_cast<long double>(a)) + std::exp(static_cast<long double>(b)));
      CHECK(math::log_add_exp(a, b) ==
            Approx(static_cast<double>(exact)).epsilon(static_cast<double>(tolerance)).margin(1e-7));
    }
  CHECK(math::log_add_exp(T(1e4), T(1e4)) == Approx(1e4 + std::log(2.)));
  CHECK(math::log_add_exp(T(-1e4), T(-1e4)) == Approx(-1e4 + std::log(2.)));
  CHECK(math::log_add_exp(-inf, T(2)) == T(2));
  CHECK(math::log_add_exp(T(2), -inf) == T(2));
  CHECK(math::log_add_exp(-inf, -inf) == -inf);
  CHECK(math::log_add_exp(inf, T(2)) == inf);
  CHECK(math::log_add_exp(-inf, inf) == inf);
  CHECK(math::log_add_exp(inf, inf) == inf);
}

TEMPLATE_TEST_CASE("NaN goes through max, min, log_add_exp, times_or_zero and Relu", "", float, double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  CHECK(std::isnan(math::max(nan, T(1))));
  CHECK(std::isnan(math::max(T(1), nan)));
  CHECK(std::isnan(math::min(nan, T(1))));
  CHECK(std::isnan(math::min(T(1), nan)));
  CHECK(std::isnan(math::log_add_exp(nan, T(1))));
  CHECK(std::isnan(math::log_add_exp(T(1), nan)));
  CHECK(std::isnan(math::log_add_exp(nan, -std::numeric_limits<T>::infinity())));
  CHECK(std::isnan(math::times_or_zero(nan, T(1))));
  CHECK(std::isnan(math::times_or_zero(T(1), nan)));
  CHECK(std::isnan(Relu{}.value(nan)));
}

TEMPLATE_TEST_CASE("times_or_zero is 0 for a probability of 0, whatever it multiplies", "", float, double) {
  using T = TestType;
  const T inf = std::numeric_limits<T>::infinity();
  CHECK(math::times_or_zero(T(0), -inf) == T(0));
  CHECK(math::times_or_zero(T(0), inf) == T(0));
  CHECK(math::times_or_zero(T(0), std::numeric_limits<T>::quiet_NaN()) == T(0));
  CHECK(math::times_or_zero(T(0.5), T(-3)) == T(-1.5));
  CHECK(math::times_or_zero(T(0.5), -inf) == -inf);
}

TEMPLATE_TEST_CASE("activations have their known values, and the slope is their derivative", "", Relu,
                   GeluTanh, GeluErf, Silu) {
  const TestType act;
  const double step = 1e-5;
  for (const double x : {-30., -5., -1.5, -0.3, 0.1, 0.8, 2., 6., 30.}) {
    const double numeric = (act.value(x + step) - act.value(x - step)) / (2 * step);
    CHECK(act.slope(x) == Approx(numeric).margin(1e-9));
  }
  CHECK(act.value(0.) == 0);
  CHECK(act.value(50.) == Approx(50));
  CHECK(act.value(-50.) == Approx(0).margin(1e-12));
}

TEST_CASE("activations agree with values computed elsewhere") {
  // Python's math module, from the formulas of the papers
  CHECK(GeluErf{}.value(1.) == Approx(0.8413447460685429).epsilon(1e-14));
  CHECK(GeluErf{}.value(-0.5) == Approx(-0.15426876936299344).epsilon(1e-14));
  CHECK(GeluTanh{}.value(1.) == Approx(0.8411919906082768).epsilon(1e-14));
  CHECK(GeluTanh{}.value(-0.5) == Approx(-0.15428599017485606).epsilon(1e-14));
  CHECK(Silu{}.value(1.) == Approx(0.7310585786300049).epsilon(1e-14));
  CHECK(Silu{}.value(-0.5) == Approx(-0.18877033439907294).epsilon(1e-14));
  CHECK(Relu{}.value(-2.) == 0);
  CHECK(Relu{}.value(2.) == 2);
}
