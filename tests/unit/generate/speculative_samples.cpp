// What speculative_generate draws: its distribution, invariance, reports and refusals.
#include <map>
#include <numeric>

#include "catch.hpp"
#include "chi_square.hpp"
#include "enumeration.hpp"
#include "retort/generate/speculative.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

std::vector<std::uint64_t> ids_of(std::uint64_t first, int count) {
  std::vector<std::uint64_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

Sequences repeated(const Ids& prompt, int count) {
  Sequences prompts;
  for (int i = 0; i < count; ++i) prompts.push_back(prompt);
  return prompts;
}

const Filters sampler{Temperature{1.2}, TopK{9}, TopP{0.97}};
constexpr SpeculativeOptions options{.max_tokens = 9, .end_token = 1, .key = {7, 7}, .draft_tokens = 3};

struct Samples {
  std::vector<Ids> responses;
  std::vector<bool> finished;
  friend bool operator==(const Samples&, const Samples&) = default;
};

/// The samples of all examples, taken in batches of `size`, in the order `rows`.
template <class Teacher, class Draft>
Samples in_batches(const Teacher& teacher, const Draft& draft, const Batch& batch,
                   const std::vector<int>& rows, std::size_t size) {
  Samples all{std::vector<Ids>(rows.size()), std::vector<bool>(rows.size())};
  for (std::size_t first = 0; first < rows.size(); first += size) {
    const auto part = std::span(rows).subspan(first, std::min(size, rows.size() - first));
    const Batch examples = batch.select(part);
    const Generated g =
        speculative_generate(teacher, draft, examples.prompts, examples.ids, sampler, options).samples;
    for (std::size_t i = 0; i < part.size(); ++i) {
      all.responses[static_cast<std::size_t>(part[i])] = list(g.responses[static_cast<int>(i)]);
      all.finished[static_cast<std::size_t>(part[i])] = g.finished[i];
    }
  }
  return all;
}

template <class Teacher, class Draft>
void check_invariance(const Teacher& teacher, const Draft& draft) {
  const Batch batch = tiny_batch(40);
  std::vector<int> rows(40);
  std::iota(rows.begin(), rows.end(), 0);
  const Samples whole = in_batches(teacher, draft, batch, rows, 40);
  CHECK(std::ranges::count(whole.finished, true) >= 4);
  CHECK(std::ranges::count(whole.finished, false) >= 4);
  CHECK(in_batches(teacher, draft, batch, rows, 1) == whole);
  CHECK(in_batches(teacher, draft, batch, rows, 7) == whole);
  std::ranges::reverse(rows);
  CHECK(in_batches(teacher, draft, batch, rows, 11) == whole);
  for (const int threads : {1, 2, 3}) {
    const Threads scope(threads);
    CHECK(in_batches(teacher, draft, batch, rows, 40) == whole);
  }
}

template <class Teacher, class Draft>
void check_greedy(const Teacher& teacher, const Draft& draft) {
  const Batch batch = tiny_batch(20);
  const Generated right = generate(teacher, batch.prompts, batch.ids, Greedy{},
                                   {.max_tokens = options.max_tokens, .end_token = options.end_token});
  for (const Index ahead : {1, 2, 5, 40}) {
    SpeculativeOptions o = options;
    o.draft_tokens = ahead;
    const Generated given =
        speculative_generate(teacher, draft, batch.prompts, batch.ids, Greedy{}, o).samples;
    CHECK(given.responses == right.responses);
    CHECK(given.finished == right.finished);
    CHECK(difference(given.log_probabilities, right.log_probabilities) <= 1e-5);
    CHECK(given.log_draws == right.log_draws);
  }
}

/// All responses that there are occur as often as the teacher would draw them.
template <class Teacher, class Draft>
void check_frequencies(const Teacher& teacher, const Draft& draft, int batches) {
  constexpr int size = 5000;
  const SpeculativeOptions o{.max_tokens = 4, .end_token = 1, .key = {3, 3}, .draft_tokens = 3};
  const Ids prompt{3, 2};
  std::map<Ids, Exact> right;
  NextRows rows(teacher, prompt, keep_all, 4);
  enumerate(rows, o.max_tokens, right);
  std::map<Ids, int> counts;
  const Sequences prompts = repeated(prompt, size);
  Index rejected = 0;
  for (int b = 0; b < batches; ++b) {
    const auto ids = ids_of(static_cast<std::uint64_t>(b) * size, size);
    const Speculated s = speculative_generate(teacher, draft, prompts, ids, Temperature{1}, o);
    for (int i = 0; i < size; ++i) ++counts[list(s.samples.responses[i])];
    rejected += s.judged - s.accepted;
  }
  CHECK(rejected > batches * size / 10);
  std::vector<int> observed;
  std::vector<double> distribution;
  for (const auto& [tokens, exact] : right) {
    observed.push_back(counts[tokens]);
    distribution.push_back(exact.probability);
  }
  CHECK(counts.size() <= right.size());
  CHECK(fits(observed, distribution));
}

}  // namespace

TEST_CASE("many samples have the teacher's distribution") {
  check_frequencies(decoder_of<F>(4, 1), decoder_of<F>(4, 2), 5);
  check_frequencies(t5_of<F, T5>(4, 1), t5_of<F, T5v11>(4, 2), 2);
}

TEST_CASE(
    "speculative samples do not depend on the batch size, the order of the batch and the thread count") {
  check_invariance(tiny_decoder<F>(1), tiny_decoder<F>(2));
  check_invariance(tiny_t5<F>(2), tiny_t5<F, T5v11>(3));
}

TEST_CASE("greedy responses are those of the teacher alone") {
  check_greedy(tiny_decoder<F>(1), tiny_decoder<F>(2));
  check_greedy(tiny_decoder<F>(1), tiny_decoder<F>(1));
  check_greedy(tiny_t5<F>(2), tiny_t5<F, T5v11>(3));
}

TEST_CASE("1 - TV of the judged proposals are accepted") {
  // With one proposal and three tokens exactly the second is judged, after a first that does not end.
  const auto teacher = decoder_of<F>(11, 1), draft = decoder_of<F>(11, 2);
  const Ids prompt{3, 2};
  NextRows p(teacher, prompt, sampler, 11);
  NextRows q(draft, prompt, sampler, 11);
  double judged = 0, accepted = 0;
  for (std::int32_t token = 0; token < 11; ++token) {
    if (token == 1) continue;
    double variation = 0;
    for (std::size_t v = 0; v < 11; ++v)
      variation += std::abs(p({token}).sampler[v] - q({token}).sampler[v]) / 2;
    const double first = p({}).sampler[static_cast<std::size_t>(token)];
    judged += first;
    accepted += first * (1 - variation);
  }
  constexpr int size = 20000;
  const Speculated s =
      speculative_generate(teacher, draft, repeated(prompt, size), ids_of(0, size), sampler,
                           {.max_tokens = 3, .end_token = 1, .key = {4, 4}, .draft_tokens = 1});
  const auto near = [](double count, double probability) {  // within 4.9 deviations
    return std::abs(count - size * probability) <= 4.9 * std::sqrt(size * probability * (1 - probability));
  };
  CAPTURE(s.judged, s.accepted, judged, accepted);
  CHECK(near(static_cast<double>(s.judged), judged));
  CHECK(near(static_cast<double>(s.accepted), accepted));
  CHECK(s.acceptance_rate() == static_cast<double>(s.accepted) / static_cast<double>(s.judged));
  CHECK(s.proposed == s.judged);
}

TEST_CASE("a draft that is the teacher has everything accepted, and is counted") {
  const auto model = tiny_decoder<F>(1);
  // 24 positions: the prompt's 16 and the 8 tokens of the response that are read
  const Speculated s =
      speculative_generate(model, model, sequences({indices(16, 11, 1)}), ids_of(0, 1), Temperature{1},
                           {.max_tokens = 9, .end_token = -1, .key = {2}, .draft_tokens = 4});
  CHECK(s.samples.responses.total() == 9);
  CHECK(s.proposed == 6);  // one token of the prompt's pass, 4 + 1, 2 + 1
  CHECK(s.judged == 6);
  CHECK(s.accepted == 6);
  CHECK(s.teacher_passes == 3);
  CHECK(s.acceptance_rate() == 1);
  CHECK(s.tokens_per_pass() == 3);
  CHECK_THROWS_AS(speculative_generate(model, model, sequences({indices(16, 11, 1)}), ids_of(0, 1), Greedy{},
                                       {.max_tokens = 10}),
                  ValueError);
}

TEST_CASE("log-probabilities, ends, lengths and what observers see are what they say") {
  const auto teacher = tiny_decoder<F>(1), draft = tiny_decoder<F>(2);
  const Batch batch = tiny_batch(30);
  SpeculativeOptions several = options;
  const std::vector<std::int32_t> more{4, 7};
  several.more_end_tokens = more;
  std::vector<Ids> seen(30);
  const Speculated s =
      speculative_generate(teacher, draft, batch.prompts, batch.ids, Temperature{2}, several,
                           [&](std::size_t i, const DrawnToken& d) { seen[i].push_back(d.token); });
  CHECK(difference(s.samples.log_probabilities,
                   response_log_probabilities(teacher, batch.prompts, s.samples.responses)) <= 1e-5);
  std::map<std::int32_t, int> ends;
  for (int i = 0; i < 30; ++i) {
    const Ids tokens = list(s.samples.responses[i]);
    const auto end = std::ranges::find_if(tokens, [](auto t) { return t == 1 || t == 4 || t == 7; });
    CAPTURE(i, tokens);
    CHECK(s.samples.finished[static_cast<std::size_t>(i)] == (end != tokens.end()));
    CHECK(std::ssize(tokens) == (end != tokens.end() ? end - tokens.begin() + 1 : 9));
    CHECK(seen[static_cast<std::size_t>(i)] == tokens);
    ++ends[tokens.back()];
  }
  for (const std::int32_t token : {1, 4, 7}) CHECK(ends[token] > 0);
  CHECK(s.proposed > s.judged);
  CHECK(s.judged > s.accepted);
  CHECK(s.sequence_passes < s.samples.responses.total());
}

TEST_CASE("no prompts and no tokens are no special cases") {
  const auto model = tiny_t5<F>(2);
  const Speculated none = speculative_generate(model, model, {}, {}, Temperature{1}, options);
  CHECK(none.samples.responses.empty());
  CHECK(none.acceptance_rate() == 0);
  CHECK(none.tokens_per_pass() == 0);
  const Speculated empty = speculative_generate(model, model, sequences({{3}, {4}}), ids_of(0, 2),
                                                Temperature{1}, {.max_tokens = 0});
  CHECK(empty.samples.responses == sequences({{}, {}}));
  CHECK(empty.samples.finished == std::vector<bool>{false, false});
  const Speculated one = speculative_generate(model, model, sequences({{3}, {4}}), ids_of(0, 2),
                                              Temperature{1}, {.max_tokens = 1});
  CHECK(one.samples.responses.total() == 2);
  CHECK(one.proposed == 0);
  CHECK(one.teacher_passes == 1);
}

TEST_CASE("what cannot be decoded speculatively is an error") {
  auto teacher = tiny_decoder<F>(1), draft = tiny_decoder<F>(2);
  const Sequences prompt = sequences({{3}});
  const auto ids = ids_of(0, 1);
  const auto refusal = [&](const auto& policy, const SpeculativeOptions& o,
                           const std::vector<std::uint64_t>& names) {
    return message_of<ValueError>(
        [&] { (void)speculative_generate(teacher, draft, prompt, names, policy, o); });
  };
  CHECK(refusal(Greedy{}, options, {}) == "[speculative_generate] 1 prompts but 0 ids");
  CHECK(refusal(Greedy{}, {.max_tokens = -1}, ids) ==
        "[speculative_generate] max_tokens -1, expected at least 0");
  CHECK(refusal(Greedy{}, {.draft_tokens = 0}, ids) ==
        "[speculative_generate] draft_tokens 0, expected at least 1");
  CHECK(refusal(TopP{2}, options, ids) == "[top_p] p must lie in (0, 1]; given top_p(top_p 2)");
  CHECK(refusal(Greedy{}, {.max_tokens = 30}, ids) ==
        "[decoder] a prompt of 1 tokens and up to 30 more, but the model has 24 positions: ask for fewer");

  const auto spoil = [](auto& model) {
    for (auto* p : parameters(model)) p->value.data()[0] = std::nanf("");
  };
  const auto broken = [&](const auto& policy) {
    return message_of<NumericError>(
        [&] { (void)speculative_generate(teacher, draft, prompt, ids, policy, options); });
  };
  const auto message = [](const std::string& whose) {
    return "[speculative_generate] the " + whose +
           "'s logits are NaN, infinite or all -inf, or the sampler left no token to draw";
  };
  spoil(draft);
  CHECK(broken(Temperature{1}) == message("draft"));
  CHECK(broken(Greedy{}) == message("draft"));
  spoil(teacher);
  CHECK(broken(Temperature{1}) == message("teacher"));
  CHECK(broken(Greedy{}) == message("teacher"));
}
