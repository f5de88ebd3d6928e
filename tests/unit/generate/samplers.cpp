// Filters against the sorting implementations of naive.hpp, and single draws.
#include "retort/generate/samplers.hpp"

#include <limits>

#include "catch.hpp"
#include "naive.hpp"
#include "numbers.hpp"
#include "retort/core/policy.hpp"

using namespace retort;
using namespace retort::test;
using naive::Row;

namespace {

template <class S, class T>
std::vector<T> filtered(const S& sampler, std::vector<T> logits) {
  std::vector<Index> scratch;
  sampler.filter(logits.data(), static_cast<Index>(logits.size()), scratch);
  return logits;
}

template <class S>
void check_filter(const S& sampler, const Row& logits) {
  const Row right = naive::filter(sampler, logits);
  INFO(summary(sampler));
  CHECK(difference(filtered(sampler, logits), right) <= 1e-14);
  const auto single = filtered(sampler, std::vector<float>(logits.begin(), logits.end()));
  CHECK(difference(single, right) <= 1e-6);
}

/// Normal numbers, rounded so that many are equal.
Row with_ties(Index n, std::uint64_t stream) {
  Row z = normals<double>(n, stream, 2);
  for (double& x : z) x = std::round(2 * x) / 2;
  return z;
}

template <class S>
std::vector<std::size_t> kept(const S& sampler, const Row& logits) {
  const Row z = filtered(sampler, logits);
  std::vector<std::size_t> ids;
  for (std::size_t i = 0; i < z.size(); ++i)
    if (z[i] > naive::never) ids.push_back(i);
  return ids;
}
using List = std::vector<std::size_t>;

}  // namespace

TEST_CASE("filters equal their definitions, with ties and in compositions of any order") {
  for (std::uint64_t stream = 0; stream < 6; ++stream)
    for (const Index n : {1, 2, 9, 40}) {
      const Row logits = stream % 2 == 0 ? normals<double>(n, stream, 2) : with_ties(n, stream);
      CAPTURE(n, stream);
      check_filter(Temperature{0.7}, logits);
      check_filter(Temperature{1}, logits);
      for (const Index k : {0, 1, 3, 39, 40, 100}) check_filter(TopK{k}, logits);
      for (const double p : {1e-9, 0.3, 0.77, 0.999, 1.0}) check_filter(TopP{p}, logits);
      check_filter(Filters{Temperature{1.3}, TopK{7}, TopP{0.83}}, logits);
      check_filter(Filters{TopP{0.83}, TopK{7}, Temperature{1.3}}, logits);
      check_filter(Filters{TopK{5}, TopK{3}}, logits);
    }
}

TEST_CASE("of equally probable tokens top-k keeps those with the lowest ids, and never more than k") {
  const Row logits{1, 2, 1, 2, 1, 1};
  CHECK(kept(TopK{1}, logits) == List{1});
  CHECK(kept(TopK{3}, logits) == List{0, 1, 3});
  CHECK(kept(TopK{4}, logits) == List{0, 1, 2, 3});
  CHECK(kept(TopK{0}, logits).size() == 6);
}

TEST_CASE("top-p keeps the smallest set that reaches p") {
  const Row logits{std::log(0.125), std::log(0.5), std::log(0.25), std::log(0.125)};
  CHECK(kept(TopP{1e-300}, logits) == List{1});
  CHECK(kept(TopP{0.5 - 1e-9}, logits) == List{1});
  CHECK(kept(TopP{0.5 + 1e-9}, logits) == List{1, 2});
  CHECK(kept(TopP{0.75 + 1e-9}, logits) == List{0, 1, 2});  // of the equal ones the lower id
  CHECK(kept(TopP{0.875 + 1e-9}, logits) == List{0, 1, 2, 3});
  CHECK(kept(TopP{1}, logits) == List{0, 1, 2, 3});
  CHECK(kept(TopP{1 - 1e-12}, Row{0, naive::never, 0}) == List{0, 2});
}

TEST_CASE("the order of filters matters: top-p counts what the filters before it left") {
  const Row logits{std::log(0.4), std::log(0.3), std::log(0.2), std::log(0.1)};
  CHECK(kept(Filters{TopK{2}, TopP{0.6}}, logits) == List{0, 1});  // 4/7 and 3/7
  CHECK(kept(Filters{TopK{2}, TopP{0.55}}, logits) == List{0});
  CHECK(kept(Filters{TopP{0.55}, TopK{2}}, logits) == List{0, 1});
  CHECK(kept(Filters{Temperature{0.25}, TopP{0.6}}, logits) == List{0});
  CHECK(kept(Filters{Temperature{4.0}, TopP{0.6}}, logits) == List{0, 1, 2});
}

TEST_CASE("greedy takes the most probable token, of equals the one with the lowest id") {
  std::vector<Index> scratch;
  Row z{1, 3, 2, 3};
  const DrawnToken d = draw_token(Greedy{}, z.data(), 4, 0.99, scratch);
  CHECK(d.token == 1);
  CHECK(d.log_probability == Approx(std::log(naive::softmax({1, 3, 2, 3})[1])));
  CHECK(d.log_draw == 0);
}

TEST_CASE("the first and the last possible token are drawn at the ends of (0, 1), impossible ones never") {
  std::vector<Index> scratch;
  const auto token = [&](double u) {
    std::vector<float> z{-std::numeric_limits<float>::infinity(), 0, 1, -200,
                         -std::numeric_limits<float>::infinity()};
    return draw_token(Temperature{1}, z.data(), 5, u, scratch).token;
  };
  CHECK(token(1e-10) == 1);
  CHECK(token(1 - 1e-10) == 2);  // e^-201 is nothing in float
}

TEST_CASE("logits that allow no choice are an error") {
  std::vector<Index> scratch;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Row& row :
       {Row{nan, nan}, Row{0, nan, 1}, Row{0, HUGE_VAL, 1}, Row{naive::never, naive::never}}) {
    const auto n = static_cast<Index>(row.size());
    const auto fails = [&](const auto& sampler) {
      Row z = row;
      CHECK_THROWS_AS(draw_token(sampler, z.data(), n, 0.5, scratch), NumericError);
    };
    fails(Greedy{});
    fails(Temperature{0.5});
    fails(TopK{1});
    fails(TopP{0.5});
    fails(Filters{TopK{1}, TopP{0.5}});
  }
}

TEST_CASE("values outside their range are named") {
  CHECK(Temperature{0}.problem() ==
        std::string("the value must be a number above 0 (Greedy is the limit at 0)"));
  CHECK(TopP{1.5}.problem() == std::string("p must lie in (0, 1]"));
  for (const double bad : {-1.0, 0.0, HUGE_VAL, std::nan("")}) CHECK(Temperature{bad}.problem() != nullptr);
  for (const double bad : {-0.1, 0.0, 1.01, std::nan("")}) CHECK(TopP{bad}.problem() != nullptr);
  CHECK(TopK{-1}.problem() != nullptr);
  CHECK(Filters{Temperature{1}, TopK{3}, TopP{0.5}}.problem() == nullptr);
  CHECK(Filters{Temperature{1}, TopK{-3}, TopP{7}}.problem() == std::string("k must be at least 0"));
  struct Plain {  // a user's filter needs no problem()
    void filter(float*, Index, std::vector<Index>&) const {}
  };
  CHECK(Filters{Plain{}, TopP{2}}.problem() == std::string("p must lie in (0, 1]"));
}
