// The golden values of docs/formulas.md, computed from the formulas by another program to nine decimals.
#include <string>

#include "catch.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

const std::vector<double> student{1, 0, -1, 0.5}, teacher{0, 1, 0.5, -2};

/// Every digit in double; 1e-6 in float.
template <class D>
void check(const D& divergence, double value, const std::vector<double>& gradient, double temperature = 1) {
  INFO(summary(divergence) << " at temperature " << temperature);
  const Outcome exact = by_library<double>(divergence, student, teacher, temperature);
  const Outcome single = by_library<float>(divergence, student, teacher, temperature);
  constexpr double half_a_digit = 0.5e-9 + 1e-14;
  CHECK(std::abs(exact.value - value) <= half_a_digit);
  CHECK(std::abs(single.value - value) <= 1e-6);
  REQUIRE(exact.gradient.size() == gradient.size());
  for (std::size_t v = 0; v < gradient.size(); ++v) {
    CAPTURE(v);
    CHECK(std::abs(exact.gradient[v] - gradient[v]) <= half_a_digit);
    CHECK(std::abs(single.gradient[v] - gradient[v]) <= 1e-6);
  }
}

}  // namespace

TEST_CASE("golden values of the Kullback-Leibler divergences") {
  check(ForwardKl{}, 0.741646483, {0.292249933, -0.319651533, -0.235492423, 0.262894023});
  check(ReverseKl{}, 0.880728675, {0.036913088, -0.335163409, -0.155373570, 0.453623891});
}

TEST_CASE("golden values of the generalised Jensen-Shannon divergence") {
  check(Jsd{0.1}, 0.065365023, {0.023596675, -0.027721921, -0.018533680, 0.022658925});
  check(Jsd{0.5}, 0.180034148, {0.047043308, -0.071547061, -0.038883765, 0.063387517});
  check(Jsd{0.9}, 0.073128077, {0.009078358, -0.027768021, -0.013326703, 0.032016365});
  check(NormalisedJsd{0.5}, 0.720136594, {0.188173231, -0.286188242, -0.155535058, 0.253550069});
}

TEST_CASE("golden values of total variation and the skew divergences") {
  check(TotalVariation{}, 0.555143956, {0.113055905, -0.132780545, -0.048847233, 0.068571872});
  check(SkewForwardKl{0.1}, 0.578719649, {0.191454740, -0.241182180, -0.147758522, 0.197485961});
  check(SkewReverseKl{0.1}, 0.617961234, {0.115579862, -0.235961419, -0.116989160, 0.237370717});
}

TEST_CASE("golden values at loss temperature 2, without the factor of its square") {
  check(ForwardKl{}, 0.246428112, {0.065343999, -0.081534173, -0.082474379, 0.098664552}, 2);
  check(Jsd{0.5}, 0.062380433, {0.012582367, -0.020634161, -0.018054793, 0.026106587}, 2);
}

TEST_CASE(
    "the symmetric divergence is the mean of both Kullback-Leibler divergences, in value and gradient") {
  check(SymmetricKl{}, 0.811187579, {0.164581511, -0.327407471, -0.195432997, 0.358258957});
  const Outcome a = by_library<double>(ForwardKl{}, student, teacher);
  const Outcome b = by_library<double>(ReverseKl{}, student, teacher);
  const Outcome mean = by_library<double>(SymmetricKl{}, student, teacher);
  CHECK(mean.value == Approx((0.741646483 + 0.880728675) / 2).epsilon(1e-9));
  for (std::size_t v = 0; v < student.size(); ++v)
    CHECK(mean.gradient[v] == Approx((a.gradient[v] + b.gradient[v]) / 2).epsilon(1e-14));
}

TEST_CASE("golden values of p = [.1, .9] against q = [.9, .1]") {
  const std::vector<double> p{std::log(0.1), std::log(0.9)}, q{std::log(0.9), std::log(0.1)};
  const auto value = [&](const auto& divergence) { return by_library<double>(divergence, q, p).value; };
  CHECK(std::abs(value(ForwardKl{}) - 1.757779662) <= 0.5e-9);
  CHECK(std::abs(value(ReverseKl{}) - 1.757779662) <= 0.5e-9);
  CHECK(std::abs(value(Jsd{0.5}) - 0.368064207) <= 0.5e-9);
  CHECK(std::abs(value(Jsd{0.1}) - 0.146310513) <= 0.5e-9);
  CHECK(std::abs(value(Jsd{0.9}) - 0.146310513) <= 0.5e-9);
}
