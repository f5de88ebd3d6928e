// A million draws of every composition of filters. A program of its own, compiled with more optimization than
// other tests: see tests/CMakeLists.txt.
#include <cmath>

#include "../generate/naive.hpp"
#include "catch.hpp"
#include "chi_square.hpp"
#include "numbers.hpp"
#include "retort/core/policy.hpp"

using namespace retort;
using namespace retort::test;
using naive::Row;

namespace {

/// How often each token is drawn; what is reported of a token is checked too.
template <class S>
std::vector<int> counts_of(const S& sampler, const Row& logits, std::uint64_t draws = 1'000'000) {
  const Row right = naive::softmax(naive::filter(sampler, logits)), model = naive::softmax(logits);
  Row log_draw(right), log_probability(model);
  for (Row* row : {&log_draw, &log_probability})
    for (double& x : *row) x = std::log(x);
  std::vector<int> counts(logits.size());
  std::vector<Index> scratch;
  const std::vector<float> single(logits.begin(), logits.end());
  std::vector<float> row;
  const RandomKey key{5, 17};
  double report_error = 0;
  for (std::uint64_t i = 0; i < draws; ++i) {
    row = single;
    const DrawnToken d =
        draw_token(sampler, row.data(), static_cast<Index>(row.size()), key.uniform(i), scratch);
    const auto token = static_cast<std::size_t>(d.token);
    ++counts[token];
    report_error = std::max({report_error, std::abs(d.log_probability - log_probability[token]),
                             std::abs(d.log_draw - log_draw[token])});
  }
  CHECK(report_error <= 2e-6);
  return counts;
}

}  // namespace

TEST_CASE("the tail of the chi-square distribution has its closed forms, the quantile inverts it") {
  for (const int freedom : {1, 2, 3, 10, 11, 200})
    for (const double x : {0.01, 0.5, 3.0, 11.0, 40.0, 300.0}) {
      // erfc(sqrt(z)) or e^-z, and a term z^a e^-z / a! for every two degrees more
      const double z = x / 2;
      double right = freedom % 2 == 1 ? std::erfc(std::sqrt(z)) : std::exp(-z);
      for (double a = freedom % 2 == 1 ? 0.5 : 1; a < freedom / 2.0; ++a)
        right += std::exp(a * std::log(z) - z - std::lgamma(a + 1));
      CAPTURE(freedom, x);
      CHECK(chi_square_tail(x, freedom) == Approx(right).epsilon(1e-10));
    }
  CHECK(chi_square_quantile(0.05, 10) == Approx(18.307).epsilon(1e-4));
  CHECK(chi_square_tail(chi_square_quantile(1e-6, 7), 7) == Approx(1e-6).epsilon(1e-10));
}

TEST_CASE("a million draws have the exact distribution of every composition of filters") {
  const Row logits = normals<double>(16, 3);
  const auto check = [&](const auto& sampler) {
    INFO(summary(sampler));
    CHECK(fits(counts_of(sampler, logits), naive::softmax(naive::filter(sampler, logits))));
  };
  const Temperature t{1.5};
  const TopK k{8};
  const TopP p{0.8};
  const auto kept = [&](const auto& sampler) {
    return std::ranges::count_if(naive::filter(sampler, logits), [](double z) { return z > naive::never; });
  };
  CHECK(kept(p) == 7);  // each filter changes what the others do
  CHECK(kept(Filters{t, p}) == 8);
  CHECK(kept(Filters{k, p}) == 5);
  CHECK(kept(Filters{t, k, p}) == 6);
  CHECK(kept(Filters{p, k, t}) == 7);
  check(Temperature{1});
  check(t);
  check(k);
  check(p);
  check(Filters{t, k});
  check(Filters{t, p});
  check(Filters{k, p});
  check(Filters{t, k, p});
  check(Filters{p, k, t});
  // A slightly different distribution is found out.
  const Row exact = naive::softmax(logits);
  CHECK_FALSE(fits(counts_of(Temperature{1.05}, logits, 100'000), exact));
  CHECK_FALSE(fits(counts_of(TopP{0.99}, logits, 100'000), exact));
  CHECK_FALSE(
      fits(counts_of(Temperature{1}, logits, 100'000), naive::softmax(naive::filter(TopK{15}, logits))));
}
