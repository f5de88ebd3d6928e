#include "retort/kernels/cpu/pack.hpp"

#include <limits>
#include <string>

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;
using kernels::cpu::Pack;

namespace {

/// f applied to one number in every lane.
template <class T, class F>
T in_pack(F f, T x) {
  std::array<T, Pack<T>::size> lanes;
  f(Pack<T>(x)).store(lanes.data());
  for (const T y : lanes)
    if (y != lanes[0] && !std::isnan(y)) return std::numeric_limits<T>::signaling_NaN();
  return lanes[0];
}

/// Distance of `given` from `exact` in units of the last place of `exact` (of the smallest normal number
/// below it).
template <class T>
double ulps(T given, long double exact) {
  const long double smallest = static_cast<long double>(std::numeric_limits<T>::min());
  const int exponent = std::ilogb(std::max(std::abs(exact), smallest));
  return static_cast<double>(std::abs(static_cast<long double>(given) - exact) /
                             std::ldexp(1.0L, exponent - (std::numeric_limits<T>::digits - 1)));
}

/// Largest error of f against `exact` in `count` numbers spread over [low, high].
template <class T, class F, class Exact>
double worst_ulps(F f, Exact exact, double low, double high, int count = 20'000) {
  double worst = 0;
  for (int i = 0; i <= count; ++i) {
    const T x = static_cast<T>(low + (high - low) * i / count);
    worst = std::max(worst, ulps(in_pack(f, x), exact(static_cast<long double>(x))));
  }
  return worst;
}

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

const auto pack_exp = [](auto x) { return exp(x); };
const auto pack_log = [](auto x) { return log(x); };
const auto pack_log1p = [](auto x) { return log1p(x); };
const auto pack_tanh = [](auto x) { return tanh(x); };
const auto pack_erf = [](auto x) { return erf(x); };

}  // namespace

TEMPLATE_TEST_CASE("a pack loads, stores and fills whole and partial registers", "", float, double) {
  using T = TestType;
  constexpr int size = Pack<T>::size;
  std::vector<T> x(size), y(size + 1, T(-1));
  for (int i = 0; i < size; ++i) x[static_cast<std::size_t>(i)] = static_cast<T>(i + 1);
  Pack<T>::load(x.data()).store(y.data());
  CHECK(std::equal(x.begin(), x.end(), y.begin()));
  CHECK(y.back() == T(-1));
  for (Index count = 0; count <= size; ++count) {
    std::fill(y.begin(), y.end(), T(-1));
    Pack<T>::load(x.data(), count, T(7)).store(y.data());
    for (Index i = 0; i < size; ++i)
      CHECK(y[static_cast<std::size_t>(i)] == (i < count ? static_cast<T>(i + 1) : T(7)));
    std::fill(y.begin(), y.end(), T(-1));
    Pack<T>::load(x.data()).store(y.data(), count);
    for (Index i = 0; i <= size; ++i)
      CHECK(y[static_cast<std::size_t>(i)] == (i < count ? static_cast<T>(i + 1) : T(-1)));
  }
  CHECK(Pack<T>::load(x.data()).sum() == static_cast<T>(size * (size + 1) / 2));
  CHECK(Pack<T>::load(x.data()).highest() == static_cast<T>(size));
}

TEMPLATE_TEST_CASE("a pack calculates as its numbers do", "", float, double) {
  using T = TestType;
  const auto a = test::normals<T>(Pack<T>::size, 1), b = test::normals<T>(Pack<T>::size, 2);
  const auto check = [&](auto on_packs, auto on_numbers) {
    std::vector<T> y(a.size());
    on_packs(Pack<T>::load(a.data()), Pack<T>::load(b.data())).store(y.data());
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == on_numbers(a[i], b[i]));
  };
  const auto same = [&](auto f) { check(f, f); };
  same([](auto u, auto v) { return u + v; });
  same([](auto u, auto v) { return u - v; });
  same([](auto u, auto v) { return u * v; });
  same([](auto u, auto v) { return u / v; });
  same([](auto u, auto) { return -u; });
  same([](auto u, auto v) {
    using namespace math;
    return max(u, v);
  });
  same([](auto u, auto v) {
    using namespace math;
    return min(u, v);
  });
  same([](auto u, auto v) {
    using namespace math;
    return select(less(u, v), u, v * v);
  });
  same([](auto u, auto) {
    using namespace math;
    return abs(u);
  });
  std::vector<T> y(a.size());  // one rounding or two, as the machine has it
  fma(Pack<T>::load(a.data()), Pack<T>::load(b.data()), Pack<T>::load(a.data())).store(y.data());
  for (std::size_t i = 0; i < y.size(); ++i)
    CHECK(std::abs(y[i] - std::fma(a[i], b[i], a[i])) <= test::rounding<T>());
}

TEMPLATE_TEST_CASE("max, min and log_add_exp of packs keep a NaN of either side", "", float, double) {
  using T = TestType;
  for (const bool first : {false, true}) {
    const auto with_nan = [&](auto f) {
      return std::isnan(in_pack(
          [&](Pack<T> x) { return first ? f(Pack<T>(not_a_number<T>), x) : f(x, Pack<T>(not_a_number<T>)); },
          T(1)));
    };
    CHECK(with_nan([](Pack<T> u, Pack<T> v) { return max(u, v); }));
    CHECK(with_nan([](Pack<T> u, Pack<T> v) { return min(u, v); }));
    CHECK(with_nan([](Pack<T> u, Pack<T> v) { return math::log_add_exp(u, v); }));
  }
}

TEMPLATE_TEST_CASE("log_add_exp of packs knows -inf as the logarithm of nothing", "", float, double) {
  using T = TestType;
  const auto both = [](T a, T b) {
    return in_pack([b](Pack<T> x) { return math::log_add_exp(x, Pack<T>(b)); }, a);
  };
  CHECK(both(-infinity<T>, -infinity<T>) == -infinity<T>);
  CHECK(both(-infinity<T>, T(-3)) == T(-3));
  CHECK(both(T(-3), -infinity<T>) == T(-3));
  CHECK(both(T(0), T(0)) == Approx(std::log(2.0)).epsilon(1e-6));
  CHECK(both(T(-200), T(-200)) == Approx(-200 + std::log(2.0)).epsilon(1e-6));
}

TEMPLATE_TEST_CASE("exp of packs is right to 2 units of the last place near 0 and 5 far from it", "", float,
                   double) {
  using T = TestType;
  const auto exact = [](long double x) { return std::exp(x); };
  const bool is_float = std::is_same_v<T, float>;
  CHECK(worst_ulps<T>(pack_exp, exact, -1, 1) <= 2);
  CHECK(worst_ulps<T>(pack_exp, exact, -1e-3, 1e-3) <= 2);
  CHECK(worst_ulps<T>(pack_exp, exact, is_float ? -87 : -708, is_float ? 88.3 : 709) <= 5);
}

TEMPLATE_TEST_CASE("exp of packs at its ends: 0 below, infinity above, NaN for NaN", "", float, double) {
  using T = TestType;
  CHECK(in_pack(pack_exp, T(0)) == T(1));
  CHECK(in_pack(pack_exp, T(-0.0)) == T(1));
  CHECK(in_pack(pack_exp, -infinity<T>) == T(0));
  CHECK(in_pack(pack_exp, T(-1000)) == T(0));
  CHECK(in_pack(pack_exp, std::numeric_limits<T>::lowest()) == T(0));
  CHECK(in_pack(pack_exp, std::numeric_limits<T>::denorm_min()) == T(1));
  CHECK(in_pack(pack_exp, infinity<T>) == infinity<T>);
  CHECK(in_pack(pack_exp, T(1000)) == infinity<T>);
  CHECK(in_pack(pack_exp, std::numeric_limits<T>::max()) == infinity<T>);
  CHECK(std::isnan(in_pack(pack_exp, not_a_number<T>)));
}

TEMPLATE_TEST_CASE("sqrt of packs is right to 4 units of the last place", "", float, double) {
  using T = TestType;
  const auto pack_sqrt = [](auto x) { return sqrt(x); };
  const auto exact = [](long double x) { return std::sqrt(x); };
  CHECK(worst_ulps<T>(pack_sqrt, exact, 0, 1) <= 4);
  CHECK(worst_ulps<T>(pack_sqrt, exact, 1, 1e6) <= 4);
  CHECK(worst_ulps<T>(pack_sqrt, exact, 1e-30, 1e-28) <= 4);
  CHECK(in_pack(pack_sqrt, T(0)) == T(0));
  CHECK(in_pack(pack_sqrt, infinity<T>) == infinity<T>);
  CHECK(std::isnan(in_pack(pack_sqrt, T(-1))));
  CHECK(std::isnan(in_pack(pack_sqrt, not_a_number<T>)));
}

TEMPLATE_TEST_CASE("log of packs is right to 2 units of the last place", "", float, double) {
  using T = TestType;
  const auto exact = [](long double x) { return std::log(x); };
  CHECK(worst_ulps<T>(pack_log, exact, 0.5, 2) <= 2);
  CHECK(worst_ulps<T>(pack_log, exact, 1e-4, 1) <= 2);
  CHECK(worst_ulps<T>(pack_log, exact, 1, 1e5) <= 2);
  double worst = 0;
  for (int e = std::numeric_limits<T>::min_exponent - 1; e < std::numeric_limits<T>::max_exponent; ++e)
    for (const double m : {1.0, 1.37, 1.999}) {
      const T x = std::ldexp(static_cast<T>(m), e);
      worst = std::max(worst, ulps(in_pack(pack_log, x), std::log(static_cast<long double>(x))));
    }
  CHECK(worst <= 2);
}

TEMPLATE_TEST_CASE("log of packs at its ends", "", float, double) {
  using T = TestType;
  CHECK(in_pack(pack_log, T(1)) == T(0));
  CHECK(in_pack(pack_log, T(0)) == -infinity<T>);
  CHECK(in_pack(pack_log, T(-0.0)) == -infinity<T>);
  CHECK(in_pack(pack_log, infinity<T>) == infinity<T>);
  CHECK(std::isnan(in_pack(pack_log, T(-1))));
  CHECK(std::isnan(in_pack(pack_log, not_a_number<T>)));
  // Below the normal range the logarithm of the smallest normal number or the exact one: finite in any case.
  const double least = std::log(static_cast<double>(std::numeric_limits<T>::min()));
  const double given = static_cast<double>(in_pack(pack_log, std::numeric_limits<T>::denorm_min()));
  CHECK(given <= least + 1e-4);
  CHECK(given >= least - 37);
}

TEMPLATE_TEST_CASE("log1p of packs is right to 4 units of the last place, also near 0 and far from it", "",
                   float, double) {
  using T = TestType;
  const auto exact = [](long double x) { return std::log1p(x); };
  CHECK(worst_ulps<T>(pack_log1p, exact, 0, 1) <= 4);
  CHECK(worst_ulps<T>(pack_log1p, exact, -1e-4, 1e-4) <= 4);
  CHECK(worst_ulps<T>(pack_log1p, exact, -0.99, 10) <= 4);
  double worst = 0;
  for (int e = std::numeric_limits<T>::min_exponent - 1; e < std::numeric_limits<T>::max_exponent; ++e) {
    const T x = std::ldexp(T(1.37), e);
    worst = std::max(worst, ulps(in_pack(pack_log1p, x), std::log1p(static_cast<long double>(x))));
  }
  CHECK(worst <= 4);
  CHECK(in_pack(pack_log1p, T(0)) == T(0));
  CHECK(in_pack(pack_log1p, T(-1)) == -infinity<T>);
  CHECK(in_pack(pack_log1p, infinity<T>) == infinity<T>);
  CHECK(std::isnan(in_pack(pack_log1p, T(-1.5))));
  CHECK(std::isnan(in_pack(pack_log1p, not_a_number<T>)));
}

TEMPLATE_TEST_CASE("tanh of packs is right to 5 units of the last place", "", float, double) {
  using T = TestType;
  const auto exact = [](long double x) { return std::tanh(x); };
  CHECK(worst_ulps<T>(pack_tanh, exact, -1, 1) <= 5);
  CHECK(worst_ulps<T>(pack_tanh, exact, -12, 12) <= 5);
  CHECK(worst_ulps<T>(pack_tanh, exact, -1e-3, 1e-3) <= 5);
  CHECK(in_pack(pack_tanh, infinity<T>) == T(1));
  CHECK(in_pack(pack_tanh, -infinity<T>) == T(-1));
  CHECK(in_pack(pack_tanh, std::numeric_limits<T>::max()) == T(1));
  CHECK(in_pack(pack_tanh, std::numeric_limits<T>::min()) == std::numeric_limits<T>::min());
  CHECK(std::isnan(in_pack(pack_tanh, not_a_number<T>)));
}

TEMPLATE_TEST_CASE("erf of packs is right to 2 units of the last place", "", float, double) {
  using T = TestType;
  CHECK(worst_ulps<T>(
            pack_erf, [](long double x) { return std::erf(x); }, -6, 6) <= 2);
  CHECK(in_pack(pack_erf, infinity<T>) == T(1));
  CHECK(in_pack(pack_erf, -infinity<T>) == T(-1));
  CHECK(std::isnan(in_pack(pack_erf, not_a_number<T>)));
}
