#include "retort/core/philox.hpp"

#include <cmath>
#include <set>
#include <vector>

#include "catch.hpp"

using namespace retort;
using Words = std::array<std::uint32_t, 4>;

TEST_CASE("Philox4x32-10 gives the known answers of the Random123 distribution") {
  const std::uint32_t ones = 0xffffffffu;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a block is Philox of index and stream under the seed") {
  const RandomKey key{0x299f31d0a4093822, 0x0370734413198a2e};
  CHECK(key.block(0x85a308d3243f6a88) == Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a uniform number is never 0 and never 1") {
  CHECK(RandomKey::to_uniform<float>(0) > 0.f);
  CHECK(RandomKey::to_uniform<float>(0xffffffffu) < 1.f);
  CHECK(RandomKey::to_uniform<double>(0) > 0.0);
  CHECK(RandomKey::to_uniform<double>(0xffffffffu) < 1.0);
  CHECK(RandomKey::to_uniform<float>(0x80000000u) == Approx(0.5));
  CHECK(RandomKey::to_uniform<double>(0x80000000u) == Approx(0.5));
}

TEMPLATE_TEST_CASE("uniform numbers have the mean, variance and counts of a uniform distribution", "", float,
                   double) {
  const int n = 100'000, bins = 50;
  const RandomKey key{7, 3};
  double sum = 0, square = 0, neighbours = 0, last = 0.5;
  std::vector<int> count(bins);
  for (int i = 0; i < n; ++i) {
    const double u = static_cast<double>(key.uniform<TestType>(static_cast<std::uint64_t>(i)));
    sum += u;
    square += u * u;
    neighbours += (u - 0.5) * (last - 0.5);
    last = u;
    ++count[static_cast<std::size_t>(u * bins)];
  }
  double chi_square = 0;
  for (const int c : count) chi_square += std::pow(c - n / bins, 2) / (n / bins);
  CHECK(sum / n == Approx(0.5).margin(4 * std::sqrt(1. / 12 / n)));
  CHECK(square / n == Approx(1. / 3).margin(4 * std::sqrt(4. / 45 / n)));
  CHECK(neighbours / n == Approx(0).margin(4 / 12. / std::sqrt(n)));
  CHECK(chi_square < 49 + 4 * std::sqrt(2 * 49.));
}

TEST_CASE("normal numbers have the moments of the normal distribution and no correlation of neighbours") {
  const int n = 200'000;
  const RandomKey key{11, 5};
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, pairs = 0, last = 0;
  for (int i = 0; i < n; ++i) {
    const double x = key.normal(static_cast<std::uint64_t>(i));
    m1 += x / n;
    m2 += x * x / n;
    m3 += x * x * x / n;
    m4 += x * x * x * x / n;
    pairs += x * last / n;
    last = x;
  }
  const double sigma = 4 / std::sqrt(n);
  CHECK(m1 == Approx(0).margin(sigma));
  CHECK(m2 == Approx(1).margin(sigma * std::sqrt(2)));
  CHECK(m3 == Approx(0).margin(sigma * std::sqrt(15)));
  CHECK(m4 == Approx(3).margin(sigma * std::sqrt(96)));
  CHECK(pairs == Approx(0).margin(sigma));
}

TEST_CASE("forked keys differ from each other and from their origin, for any purpose and depth") {
  const RandomKey root{1, 0};
  std::set<std::pair<std::uint64_t, std::uint64_t>> keys{{root.seed, root.stream}};
  const auto add = [&](RandomKey k) { return keys.insert({k.seed, k.stream}).second; };
  bool all_new = true;
  for (std::uint64_t a = 0; a < 100; ++a) {
    all_new = all_new && add(root.fork(a)) && add(root.fork(~a)) && add(RandomKey{a + 2, 0}.fork(0));
    for (std::uint64_t b = 0; b < 20; ++b) all_new = all_new && add(root.fork(a).fork(b));
  }
  CHECK(all_new);
  CHECK(root.fork(4) == root.fork(4));
  CHECK_FALSE(root.fork(4).fork(5) == root.fork(5).fork(4));
}

TEST_CASE("streams of forked keys are not correlated with each other or with their origin") {
  const int n = 40'000;
  const RandomKey root{42, 0};
  const RandomKey keys[] = {root, root.fork(0), root.fork(1), root.fork(0).fork(1), RandomKey{43, 0}};
  for (const auto& a : keys)
    for (const auto& b : keys) {
      if (a == b) continue;
      double covariance = 0;
      for (std::uint64_t i = 0; i < n; ++i)
        covariance += (a.uniform(i) - 0.5) * (b.uniform(i) - 0.5) * 12 / n;
      CHECK(covariance == Approx(0).margin(4.5 / std::sqrt(n)));
    }
}
