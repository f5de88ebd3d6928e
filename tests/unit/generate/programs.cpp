/// What programs with flags and terminals need of decoding.
#include <set>

#include "catch.hpp"
#include "retort/distill/gkd.hpp"
#include "retort/generate/any_sampler.hpp"
#include "retort/generate/beam_search.hpp"
#include "retort/io/policy_json.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;
using Catch::Matchers::Contains;

namespace {

constexpr GenerateOptions options{.max_tokens = 9, .end_token = 1, .key = {7, 7}};

std::vector<std::int32_t> ends_of(const Sequences& responses) {
  std::vector<std::int32_t> ends;
  for (int i = 0; i < responses.size(); ++i) ends.push_back(responses[i].back());
  return ends;
}

}  // namespace

TEST_CASE("an observer is told every token of every response, in its order") {
  const auto model = tiny_decoder<F>(1);
  const Batch batch = tiny_batch(12);
  std::vector<Ids> seen(12);
  std::vector<double> log_probabilities;
  const Generated g = generate(model, batch.prompts, batch.ids, Temperature{1.2}, options,
                               [&](std::size_t sequence, const DrawnToken& drawn) {
                                 seen[sequence].push_back(drawn.token);
                                 if (sequence == 0) log_probabilities.push_back(drawn.log_probability);
                               });
  for (int i = 0; i < 12; ++i) CHECK(seen[static_cast<std::size_t>(i)] == list(g.responses[i]));
  CHECK(log_probabilities == std::vector<double>(g.log_probabilities.begin(),
                                                 g.log_probabilities.begin() + g.responses.length(0)));
}

TEST_CASE("any of several end tokens ends a response, sampled or searched") {
  const auto model = tiny_t5<F>(2);
  const Batch batch = tiny_batch(30);
  GenerateOptions several = options;
  const std::vector<std::int32_t> more{4, 7};
  several.more_end_tokens = more;
  const Generated g = generate(model, batch.prompts, batch.ids, Temperature{2}, several);
  for (int i = 0; i < 30; ++i) {
    const Ids tokens = list(g.responses[i]);
    const auto end = std::ranges::find_if(tokens, [](auto t) { return t == 1 || t == 4 || t == 7; });
    CAPTURE(i, tokens);
    CHECK(g.finished[static_cast<std::size_t>(i)] == (end != tokens.end()));
    CHECK(std::ssize(tokens) == (end != tokens.end() ? end - tokens.begin() + 1 : 9));
  }
  const auto ends = ends_of(g.responses);
  for (const std::int32_t token : {1, 4, 7}) CHECK(std::ranges::count(ends, token) > 0);

  std::int32_t by_others = 0;
  for (const auto& list : beam_search(model, batch.prompts,
                                      {.beams = 3, .max_tokens = 9, .end_token = 1, .more_end_tokens = more}))
    for (const Hypothesis& h : list) {
      const auto end = std::ranges::find_if(h.tokens, [](auto t) { return t == 1 || t == 4 || t == 7; });
      CHECK((end == h.tokens.end() ? h.tokens.size() == 9 : end + 1 == h.tokens.end()));
      by_others += h.tokens.back() == 4 || h.tokens.back() == 7;
    }
  CHECK(by_others > 0);
}

TEST_CASE("a recipe's samples end at any of its end tokens, which it names") {
  const auto student = tiny_decoder<F>(1), teacher = tiny_decoder<F>(5);
  const Batch batch = tiny_batch(30);
  auto recipe = recipes::on_policy_kd();
  recipe.sampler = Temperature{2};
  recipe.max_tokens = 9;
  CHECK_THAT(summary(recipe), !Contains("more_end_tokens"));
  recipe.more_end_tokens = {4, 7};
  CHECK_THAT(summary(recipe), Contains("more_end_tokens 4 7"));
  CHECK(to_json(recipe)["more_end_tokens"] == nlohmann::json{4, 7});
  const Batch samples = recipe.responses(RandomKey{3}, student, &teacher, batch);
  std::set<std::int32_t> ends;
  for (int i = 0; i < 30; ++i) {
    const Ids tokens = list(samples.responses[i]);
    const auto end = std::ranges::find_if(tokens, [](auto t) { return t == 1 || t == 4 || t == 7; });
    CHECK(std::ssize(tokens) == (end != tokens.end() ? end - tokens.begin() + 1 : 9));
    if (end != tokens.end()) ends.insert(*end);
  }
  CHECK(ends == std::set<std::int32_t>{1, 4, 7});
}

TEST_CASE("a sampler chosen at run time gives the same as its policy") {
  const auto model = tiny_decoder<F>(3);
  const Batch batch = tiny_batch(12);
  const auto sample = [&](const auto& sampler) {
    return generate(model, batch.prompts, batch.ids, sampler, options);
  };
  const auto same = [](const Generated& a, const Generated& b) {
    return a.responses == b.responses && a.log_probabilities == b.log_probabilities &&
           a.log_draws == b.log_draws;
  };
  CHECK(same(sample(AnySampler()), sample(Greedy{})));
  CHECK(same(sample(AnySampler(Filters{Temperature{1.2}, TopK{}, TopP{}})), sample(Temperature{1.2})));
  const Filters all{Temperature{1.2}, TopK{5}, TopP{0.9}};
  CHECK(same(sample(AnySampler(all)), sample(all)));
  CHECK_THROWS_WITH(sample(AnySampler(Filters{Temperature{}, TopK{}, TopP{1.5}})), Contains("(0, 1]"));
}

TEST_CASE("a hypothesis has the log-probability of each of its tokens") {
  const auto model = tiny_decoder<F>(4);
  const Batch batch = tiny_batch(6);
  const auto found = beam_search(model, batch.prompts, {.beams = 3, .max_tokens = 6, .end_token = 1});
  for (int i = 0; i < 6; ++i)
    for (const Hypothesis& h : found[static_cast<std::size_t>(i)]) {
      const auto right =
          response_log_probabilities(model, sequences({list(batch.prompts[i])}), sequences({h.tokens}));
      CHECK(difference(h.log_probabilities, right) <= 1e-5);
      double sum = 0;
      for (const double p : h.log_probabilities) sum += p;
      CHECK(sum == Approx(h.log_probability).epsilon(1e-10));
    }
}
