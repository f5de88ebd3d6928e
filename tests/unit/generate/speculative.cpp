// Speculative decoding is exact: by enumeration of everything that can happen.
#include "retort/generate/speculative.hpp"

#include <map>
#include <numeric>

#include "catch.hpp"
#include "enumeration.hpp"
#include "retort/core/policy.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;
using naive::Row;

namespace {

/// The loop of speculative_generate, over every path: its responses have exactly the teacher's distribution,
/// and as many proposals are judged and accepted as the rule says. Gives the number of paths.
template <class Teacher, class Draft>
int check_exact(const Teacher& teacher, const Draft& draft, const Draw& sampler, Index max_tokens,
                Index ahead) {
  const SpeculativeOptions options{.max_tokens = max_tokens, .end_token = 1, .draft_tokens = ahead};
  const Ids prompt{0, 2, 2};
  const Index common = std::min(teacher.vocabulary(), draft.vocabulary());
  NextRows p(teacher, prompt, sampler, common);
  NextRows q(draft, prompt, sampler, common);
  std::map<Ids, Exact> right;
  enumerate(p, max_tokens, right);
  std::map<Ids, double> given;
  double judged = 0, accepted = 0, reports = 0;
  int paths = 0;
  AllChoices choices;
  const IgnoreTokens nobody;
  const Sequences prompts = sequences({prompt});
  do {
    detail::Speculation run(teacher, draft, prompts, sampler, options, choices, nobody);
    const Speculated s = run.run();
    ++paths;
    const Ids tokens = list(s.samples.responses[0]);
    given[tokens] += choices.weight();
    judged += choices.weight() * static_cast<double>(s.judged);
    accepted += choices.weight() * static_cast<double>(s.accepted);
    const auto sum = [](const std::vector<double>& logs) {
      return std::accumulate(logs.begin(), logs.end(), 0.0);
    };
    reports = std::max({reports, std::abs(sum(s.samples.log_draws) - std::log(right[tokens].probability)),
                        std::abs(sum(s.samples.log_probabilities) - right[tokens].log_probability)});
  } while (choices.next());
  CAPTURE(paths, max_tokens, ahead, summary(sampler));
  double worst = 0;
  for (const auto& [tokens, exact] : right)
    worst = std::max(worst, std::abs(given[tokens] - exact.probability));
  CHECK(worst <= 1e-12);
  CHECK(given.size() == right.size());
  CHECK(reports <= 1e-11);
  const auto work = ExpectedWork(p, q, max_tokens, ahead).all();
  CHECK(std::abs(judged - work.judged) <= 1e-12);
  CHECK(std::abs(accepted - work.accepted) <= 1e-12);
  return paths;
}

}  // namespace

TEST_CASE("accepting and replacing turn the draft's distribution into the teacher's, 1 - TV are accepted") {
  for (std::uint64_t stream = 0; stream < 20; ++stream) {
    const Filters filters{TopK{stream % 3 == 0 ? 0 : 6}};
    const auto p = naive::softmax(naive::filter(filters, normals<double>(13, stream, 2)));
    const auto q = naive::softmax(naive::filter(filters, normals<double>(13, stream + 100, 2)));
    Row weights(13), given(13), right(p);
    replacement_weights(p.data(), q.data(), 13, weights.data());
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    double accepted = 0, variation = 0;
    for (std::size_t x = 0; x < 13; ++x) {
      variation += std::abs(p[x] - q[x]) / 2;
      if (q[x] == 0) continue;
      const double a = acceptance(p[x], q[x]);
      accepted += q[x] * a;
      given[x] += q[x] * a;
      for (std::size_t y = 0; y < 13; ++y) given[y] += q[x] * (1 - a) * weights[y] / total;
    }
    CHECK(difference(given, right) <= 1e-15);
    CHECK(accepted == Approx(1 - variation).epsilon(1e-14));
  }
  const Row p{0.25, 0.75};
  Row weights(2);
  replacement_weights(p.data(), p.data(), 2, weights.data());  // rejected by rounding alone
  CHECK(weights == p);
}

TEST_CASE("responses have exactly the teacher's distribution, by enumeration of all that can happen") {
  const auto check = [&](const auto& teacher, const auto& draft) {
    for (const Index ahead : {1, 2, 3, 7}) {
      check_exact(teacher, draft, keep_all, 3, ahead);
      check_exact(teacher, draft, Draw{Temperature{0.8}, TopK{3}, TopP{0.9}}, 3, ahead);
    }
    CHECK(check_exact(teacher, draft, Draw{Temperature{2}, TopK{3}, TopP{0.97}}, 4, 2) > 100);
    check_exact(teacher, draft, Draw{Temperature{1}, TopK{}, TopP{0.8}}, 6, 3);
    CHECK(check_exact(teacher, draft, Draw{Temperature{1}, TopK{1}, TopP{}}, 6, 3) == 1);
  };
  check(decoder_of<D>(4, 1), decoder_of<D>(4, 2));
  check(t5_of<D, T5>(4, 1), t5_of<D, T5v11>(4, 2));
  check(decoder_of<D>(4, 3), t5_of<D, T5>(4, 4));
}

TEST_CASE("several proposals at once are exact without filters too") {
  CHECK(check_exact(decoder_of<D>(4, 1), decoder_of<D>(4, 2), keep_all, 4, 3) > 500);
  CHECK(check_exact(t5_of<D, T5>(4, 1), t5_of<D, T5v11>(4, 2), keep_all, 4, 3) > 500);
  CHECK(check_exact(decoder_of<D>(3, 1), decoder_of<D>(3, 2), keep_all, 5, 3) > 1000);
}

TEST_CASE("rounds behind a round in which all proposals were accepted are exact") {
  for (const Index ahead : {1, 2}) {
    CHECK(check_exact(decoder_of<D>(3, 1), decoder_of<D>(3, 2), keep_all, 5, ahead) > 200);
    check_exact(t5_of<D, T5>(3, 1), t5_of<D, T5v11>(3, 2), keep_all, 5, ahead);
    check_exact(decoder_of<D>(4, 1), decoder_of<D>(4, 2), Draw{Temperature{1}, TopK{2}, TopP{}}, 6, ahead);
  }
}

TEST_CASE("tokens that only one of the vocabularies has are never drawn") {
  check_exact(decoder_of<D>(4, 1), decoder_of<D>(6, 2), keep_all, 3, 3);
  check_exact(decoder_of<D>(7, 1), decoder_of<D>(4, 2), Draw{Temperature{1.5}, TopK{3}, TopP{}}, 3, 3);
  check_exact(decoder_of<D>(7, 1), t5_of<D, T5>(4, 2), keep_all, 3, 2);
}
