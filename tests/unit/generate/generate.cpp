#include "retort/generate/generate.hpp"

#include <numeric>

#include "catch.hpp"
#include "chi_square.hpp"
#include "naive.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

const Filters sampler{Temperature{1.2}, TopK{9}, TopP{0.97}};
constexpr GenerateOptions options{.max_tokens = 9, .end_token = 1, .key = {7, 7}};

struct Samples {
  std::vector<Ids> responses;
  std::vector<bool> finished;
  friend bool operator==(const Samples&, const Samples&) = default;
};

/// What `generate` gives for the examples `rows` of a batch, put back into the order of the batch.
template <class Model>
void collect(const Model& model, const Batch& batch, const std::vector<int>& rows, Samples& into) {
  const Batch part = batch.select(rows);
  const Generated g = generate(model, part.prompts, part.ids, sampler, options);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    into.responses[static_cast<std::size_t>(rows[i])] = list(g.responses[static_cast<int>(i)]);
    into.finished[static_cast<std::size_t>(rows[i])] = g.finished[i];
  }
}

/// The samples of all examples, taken in batches of `size`, in the order `rows`.
template <class Model>
Samples in_batches(const Model& model, const Batch& batch, std::vector<int> rows, std::size_t size) {
  Samples all{std::vector<Ids>(rows.size()), std::vector<bool>(rows.size())};
  for (std::size_t first = 0; first < rows.size(); first += size) {
    const auto last = std::min(rows.size(), first + size);
    collect(model, batch,
            std::vector(rows.begin() + static_cast<std::ptrdiff_t>(first),
                        rows.begin() + static_cast<std::ptrdiff_t>(last)),
            all);
  }
  return all;
}

template <class Model>
void check_invariance(const Model& model) {
  const Batch batch = tiny_batch(40);
  std::vector<int> rows(40);
  std::iota(rows.begin(), rows.end(), 0);
  const Samples whole = in_batches(model, batch, rows, 40);
  CHECK(std::ranges::count(whole.finished, true) >= 4);
  CHECK(std::ranges::count(whole.finished, false) >= 4);
  CHECK(in_batches(model, batch, rows, 1) == whole);
  CHECK(in_batches(model, batch, rows, 7) == whole);
  std::ranges::reverse(rows);
  CHECK(in_batches(model, batch, rows, 40) == whole);
  CHECK(in_batches(model, batch, rows, 11) == whole);
  for (const int threads : {1, 2, 3}) {
    const Threads scope(threads);
    CHECK(in_batches(model, batch, rows, 40) == whole);
  }
}

/// Log-probabilities to the last bit: with weights large enough for products to take other ways for few rows.
template <class Model>
void check_bits(const Model& model) {
  const Batch batch = tiny_batch(40);
  const Generated whole = generate(model, batch.prompts, batch.ids, sampler, options);
  for (const int size : {1, 7, 20}) {
    std::vector<double> parts;
    for (int first = 0; first < 40; first += size) {
      const Batch part = batch.slice(first, std::min(40, first + size));
      const Generated g = generate(model, part.prompts, part.ids, sampler, options);
      parts.insert(parts.end(), g.log_probabilities.begin(), g.log_probabilities.end());
    }
    CAPTURE(size);
    CHECK(parts == whole.log_probabilities);
  }
}

template <class Model>
void check_reports(const Model& model) {
  const Batch batch = tiny_batch(20);
  const Generated g = generate(model, batch.prompts, batch.ids, sampler, options);
  CHECK(g.responses.size() == 20);
  CHECK(g.log_probabilities.size() == static_cast<std::size_t>(g.responses.total()));
  CHECK(difference(g.log_probabilities, response_log_probabilities(model, batch.prompts, g.responses)) <=
        2e-6);

  // The distribution that each token was drawn from, from the uncached logits.
  const auto logits = response_logits(model, batch.prompts, g.responses).to_host();
  std::vector<double> right;
  for (std::size_t r = 0; r < g.responses.tokens.size(); ++r) {
    const naive::Row row(logits.begin() + static_cast<std::ptrdiff_t>(r * 11),
                         logits.begin() + static_cast<std::ptrdiff_t>(r * 11 + 11));
    right.push_back(std::log(
        naive::softmax(naive::filter(sampler, row))[static_cast<std::size_t>(g.responses.tokens[r])]));
  }
  CHECK(difference(g.log_draws, right) <= 1e-5);

  for (int i = 0; i < 20; ++i) {
    const Ids tokens = list(g.responses[i]);
    CAPTURE(i, tokens);
    const auto end = std::ranges::find(tokens, options.end_token);
    CHECK(g.finished[static_cast<std::size_t>(i)] == (end != tokens.end()));
    CHECK(std::ssize(tokens) == (end != tokens.end() ? end - tokens.begin() + 1 : options.max_tokens));
  }
}

template <class Model>
void check_greedy(const Model& model) {
  const Batch batch = tiny_batch(12);
  const Generated g = generate(model, batch.prompts, batch.ids, Greedy{}, options);
  const auto logits = response_logits(model, batch.prompts, g.responses).to_host();
  for (std::size_t r = 0; r < g.responses.tokens.size(); ++r) {
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>(r * 11);
    CHECK(std::max_element(row, row + 11) - row == g.responses.tokens[r]);
    CHECK(g.log_draws[r] == 0);
  }
}

}  // namespace

TEST_CASE("samples are the same whatever the batch size, the order of the batch and the thread count") {
  check_invariance(tiny_decoder<F>(1));
  check_invariance(tiny_t5<F>(2));
}

TEST_CASE("log-probabilities, log-draws, finished flags and lengths of samples are what they say") {
  check_reports(tiny_decoder<F>(1));
  check_reports(tiny_t5<F>(2));
  check_reports(tiny_t5<F, T5v11>(3));
}

TEST_CASE("greedy decoding takes the highest logit of the forward pass at every step") {
  check_greedy(tiny_decoder<F>(1));
  check_greedy(tiny_t5<F>(2));
}

TEST_CASE("another key or id gives another sample, the same ones the same") {
  const auto model = tiny_t5<F>(2);
  const Sequences prompts = sequences({{3, 4}, {3, 4}, {3, 4}});
  const std::vector<std::uint64_t> ids{5, 6, 5};
  const auto sample = [&](RandomKey key) {
    return generate(model, prompts, ids, Temperature{2}, {.max_tokens = 8, .end_token = 0, .key = key})
        .responses;
  };
  const Sequences a = sample({1, 1});
  CHECK(list(a[0]) == list(a[2]));
  CHECK(list(a[0]) != list(a[1]));
  CHECK(sample({1, 1}) == a);
  CHECK(sample({1, 2}) != a);
}

TEST_CASE("pairs of tokens have the model's joint distribution") {
  const auto model = tiny_decoder<F>(4);
  const Ids prompt{3, 9};
  // The exact distribution: first token, then second token after it (none after the end token 1).
  std::vector<double> right(121, 0.0);
  const auto after = [&](const Ids& tokens) {
    Ids padded = tokens;
    padded.push_back(0);  // its logits are wanted, it is not read
    const auto all = response_logits(model, sequences({prompt}), sequences({padded})).to_host();
    return naive::softmax(naive::Row(all.end() - 11, all.end()));
  };
  const naive::Row first = after({});
  for (std::int32_t a = 0; a < 11; ++a) {
    const naive::Row second = a == 1 ? naive::Row{} : after({a});
    for (std::int32_t b = 0; b < 11; ++b)
      right[static_cast<std::size_t>(11 * a + b)] =
          first[static_cast<std::size_t>(a)] *
          (a == 1 ? (b == 0 ? 1 : 0) : second[static_cast<std::size_t>(b)]);
  }
  constexpr int size = 5000, batches = 20;
  Sequences prompts;
  for (int i = 0; i < size; ++i) prompts.push_back(prompt);
  std::vector<std::uint64_t> ids(size);
  std::vector<int> counts(121);
  for (std::uint64_t b = 0; b < batches; ++b) {
    std::iota(ids.begin(), ids.end(), b * size);
    const Generated g =
        generate(model, prompts, ids, Temperature{1}, {.max_tokens = 2, .end_token = 1, .key = {3, 3}});
    for (int i = 0; i < size; ++i) {
      const auto s = g.responses[i];
      ++counts[static_cast<std::size_t>(11 * s[0] + (s.size() > 1 ? s[1] : 0))];
    }
  }
  CHECK(fits(counts, right));
}

TEST_CASE("no prompts, no tokens and an end token at once are no special cases") {
  const auto model = tiny_t5<F>(2);
  const Generated none = generate(model, {}, {}, Temperature{1}, options);
  CHECK(none.responses.empty());
  CHECK(none.finished.empty());

  const std::vector<std::uint64_t> ids{0, 1};
  const Generated empty = generate(model, sequences({{3}, {4}}), ids, Temperature{1}, {.max_tokens = 0});
  CHECK(empty.responses == sequences({{}, {}}));
  CHECK(empty.finished == std::vector<bool>{false, false});
  CHECK(empty.log_probabilities.empty());

  const Generated free =
      generate(model, sequences({{3}, {4}}), ids, Greedy{}, {.max_tokens = 3, .end_token = -1});
  CHECK(free.responses.total() == 6);
  const auto end = free.responses[0][0];
  const Generated ended = generate(model, sequences({{3}}), std::vector<std::uint64_t>{0}, Greedy{},
                                   {.max_tokens = 1, .end_token = end});
  CHECK(list(ended.responses[0]) == Ids{end});
  CHECK(ended.finished[0]);  // at the last token that it might have
}

TEST_CASE("what cannot be generated is an error") {
  auto model = tiny_decoder<F>(1);
  const Sequences prompt = sequences({{3}});
  const std::vector<std::uint64_t> id{0};
  CHECK(message_of<ValueError>([&] { (void)generate(model, prompt, {}, Greedy{}, options); }) ==
        "[generate] 1 prompts but 0 ids");
  CHECK(message_of<ValueError>([&] { (void)generate(model, prompt, id, Greedy{}, {.max_tokens = -1}); }) ==
        "[generate] max_tokens -1, expected at least 0");
  CHECK(message_of<ValueError>([&] { (void)generate(model, prompt, id, Temperature{0}, options); }) ==
        "[temperature] the value must be a number above 0 (Greedy is the limit at 0); given "
        "temperature(temperature 0)");
  CHECK(message_of<ValueError>([&] {
          (void)generate(model, prompt, id, Filters{TopK{2}, TopP{2}}, options);
        }) == "[filters] p must lie in (0, 1]; given filters(top_k 2, top_p 2)");
  struct Plain {  // a user's filter with nothing but the filter
    void filter(float*, Index, std::vector<Index>&) const {}
  };
  CHECK(message_of<ValueError>([&] {
          (void)generate(model, prompt, id, Filters{Plain{}, TopP{2}}, options);
        }) == "[filters] p must lie in (0, 1]; given filters(top_p 2)");
  for (auto* p : parameters(model)) p->value.data()[0] = std::nanf("");
  CHECK_THROWS_AS(generate(model, prompt, id, Temperature{1}, options), NumericError);
  CHECK_THROWS_AS(generate(model, prompt, id, Greedy{}, options), NumericError);
}

#if !defined(RETORT_GEMM_CBLAS) && !defined(RETORT_GEMM_EIGEN)
TEST_CASE("samples have the same bits in batches of any size, also of models with large weights") {
  auto decoder = tiny_decoder_config();
  decoder.width = 384, decoder.heads = 6, decoder.hidden = 768, decoder.vocabulary = 700;
  decoder.init_deviation = 0.05;
  check_bits(tiny_decoder<F>(1, decoder));
  auto t5 = tiny_t5_config();
  t5.width = 384, t5.heads = 6, t5.head_width = 64, t5.hidden = 768, t5.vocabulary = 700;
  check_bits(tiny_t5<F>(1, t5));
}
#endif

namespace {

/// Counts the prompts that a model reads.
template <class Model>
struct Counting {
  using Backend = F;
  const Model* model;
  int* prompts_read;

  Index vocabulary() const { return model->vocabulary(); }
  Head<F> head() const { return model->head(); }
  Variable<F> hidden(Context<F>& context, const Sequences& prompts, const Sequences& responses) const {
    return model->hidden(context, prompts, responses);
  }
  DecodeState<F> start(const Sequences& prompts, Index room) const {
    *prompts_read += prompts.size();
    return model->start(prompts, room);
  }
  void advance(DecodeState<F>& state, std::span<const std::int32_t> tokens) const {
    model->advance(state, tokens);
  }
  template <class Visit>
  void each_parameter(Visit&&) {}
};

template <class Model>
void check_shared(const Model& model) {
  const Batch prompts = tiny_batch(5);
  Batch several;  // in an order that mixes them
  for (int sample = 0; sample < 4; ++sample)
    for (int i = 0; i < 5; ++i)
      several.push_back(prompts.prompts[(i + sample) % 5], Ids{}, static_cast<std::uint64_t>(several.size()));
  int read = 0;
  const Counting<Model> counting{&model, &read};
  const Generated together = generate(counting, several.prompts, several.ids, sampler, options);
  CHECK(read == 5);
  std::vector<double> log_probabilities;
  for (int i = 0; i < several.size(); ++i) {
    const Batch one = several.slice(i, i + 1);
    const Generated alone = generate(model, one.prompts, one.ids, sampler, options);
    CHECK(list(alone.responses[0]) == list(together.responses[i]));
    log_probabilities.insert(log_probabilities.end(), alone.log_probabilities.begin(),
                             alone.log_probabilities.end());
  }
  CHECK(difference(together.log_probabilities, log_probabilities) <= 2e-6);
}

}  // namespace

TEST_CASE("several samples of a prompt read it once and are what each would be alone") {
  check_shared(tiny_decoder<F>(1));
  check_shared(tiny_t5<F>(1));
}
