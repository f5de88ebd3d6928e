// Reading several tokens at once into a cache, and forgetting them again.
#include <numeric>

#include "all_families.hpp"
#include "catch.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// Prompts of 1 to 9 tokens, responses of 1 to 12.
Batch ragged() {
  Batch batch;
  for (std::uint64_t i = 0; i < 10; ++i)
    batch.push_back(indices(1 + static_cast<Index>(i * 7 % 9), 11, i),
                    indices(1 + static_cast<Index>(i * 5 % 12), 11, 50 + i), i);
  return batch;
}

/// The logits of `responses`, read by the cached model in pieces of 0 to 3 tokens that differ from sequence
/// to sequence. Behind its piece each sequence reads 0 to 2 wrong tokens, which are then forgotten; and the
/// batch is reversed after every pass. In the order of response_logits.
template <class Model>
auto extended_logits(const Model& model, const Sequences& prompts, const Sequences& responses,
                     std::uint64_t seed) {
  using B = typename Model::Backend;
  using T = typename B::Scalar;
  const Index v = model.vocabulary();
  const RandomKey key{seed, 9};
  std::uint64_t number = 0;
  const auto random = [&](int limit) { return static_cast<int>(key.uniform(number++) * limit); };
  std::vector<T> all(static_cast<std::size_t>(responses.total() * v));
  const auto store = [&](const TensorOf<B>& hidden, Index row, int sequence, int t) {
    const T* from = std::as_const(hidden).data() + row * hidden.last();
    project(model.head(), 1, from,
            all.data() + (responses.offsets[static_cast<std::size_t>(sequence)] + t) * v);
  };
  auto state = model.start(prompts, responses.longest() + 2);
  std::vector<int> order(static_cast<std::size_t>(prompts.size()));
  std::iota(order.begin(), order.end(), 0);
  for (const int i : order) store(state.hidden, i, i, 0);
  std::vector<int> read(order.size(), 0);
  const auto missing = [&](int i) { return responses.length(i) - 1 - read[static_cast<std::size_t>(i)]; };
  while (std::ranges::any_of(order, [&](int i) { return missing(i) > 0; })) {
    Sequences tokens;
    std::vector<std::int32_t> wrong;
    std::vector<int> right;
    for (const int i : order) {
      right.push_back(std::min(random(4), missing(i)));
      wrong.push_back(random(3));
      const auto at = responses[i].begin() + read[static_cast<std::size_t>(i)];
      Ids piece(at, at + right.back());
      for (int w = 0; w < wrong.back(); ++w) piece.push_back(random(11));
      tokens.push_back(piece);
    }
    const auto before = state.hidden.to_host();
    const TensorOf<B> hidden = model.extend(state, tokens);
    REQUIRE(hidden.shape() == Shape{tokens.total(), state.hidden.last()});
    const auto rows = hidden.to_host(), last = state.hidden.to_host();
    const Index width = state.hidden.last();
    for (std::size_t n = 0; n < order.size(); ++n) {
      const bool none = tokens.length(static_cast<int>(n)) == 0;
      const auto* from = none ? before.data() + static_cast<Index>(n) * width
                              : rows.data() + (tokens.offsets[n + 1] - 1) * width;
      const auto* row = last.data() + static_cast<Index>(n) * width;
      CHECK(std::equal(row, row + width, from, [](T a, T b) { return a == b || (a != a && b != b); }));
      for (int t = 0; t < right[n]; ++t)
        store(hidden, tokens.offsets[n] + t, order[n], ++read[static_cast<std::size_t>(order[n])]);
    }
    state.rewind(wrong);
    for (std::size_t n = 0; n < order.size(); ++n)
      if (wrong[n] > 0) CHECK(std::isnan(state.hidden.to_host()[n * static_cast<std::size_t>(width)]));
    CHECK(hidden.to_host() == rows);
    std::vector<std::int32_t> reversed(order.size());
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    state.select(reversed);
    std::ranges::reverse(order);
  }
  return all;
}

template <class Model>
double extension_error(const Model& model) {
  const Batch batch = ragged();
  const auto right = response_logits(model, batch.prompts, batch.responses).to_host();
  double worst = 0;
  for (const std::uint64_t seed : {1, 2, 3})
    worst = std::max(worst, difference(extended_logits(model, batch.prompts, batch.responses, seed), right));
  return worst;
}

/// Largest difference between reading tokens at once and one by one, in hidden states.
template <class Model>
double one_by_one_error(const Model& model) {
  const Sequences prompts = sequences({{3, 4, 5}, {9}});
  const Ids a{1, 2, 3, 4, 5, 6}, b{7, 8, 9, 10, 0, 1};
  auto at_once = model.start(prompts, 6), one_by_one = model.start(prompts, 6);
  const auto given = model.extend(at_once, sequences({a, b})).to_host();
  std::vector<typename Model::Backend::Scalar> right(given.size());
  const auto width = static_cast<std::ptrdiff_t>(given.size() / 12);
  for (std::ptrdiff_t t = 0; t < 6; ++t) {
    const auto i = static_cast<std::size_t>(t);
    model.advance(one_by_one, Ids{a[i], b[i]});
    const auto rows = one_by_one.hidden.to_host();
    std::copy_n(rows.begin(), width, right.begin() + t * width);
    std::copy_n(rows.begin() + width, width, right.begin() + (6 + t) * width);
  }
  return difference(given, right);
}

}  // namespace

TEST_CASE("reading tokens in pieces, and wrong ones that are forgotten, equals the forward pass") {
  using F = Cpu<float>;
  STATIC_REQUIRE(ExtendableModel<AnyModel<D>>);
  for (const auto& [name, model] : all_families<D>()) {
    CAPTURE(name);
    CHECK(extension_error(model) <= 1e-12);
    CHECK(one_by_one_error(model) <= 1e-12);
  }
  CHECK(extension_error(tiny_decoder<F>(1)) <= 1e-5);
  CHECK(one_by_one_error(tiny_decoder<F>(1)) <= 1e-5);
  for (const auto& [encoder, decoder] : {std::pair<Index, Index>{1, 3}, {3, 1}}) {
    auto config = tiny_t5_config();
    config.encoder_layers = encoder;
    config.decoder_layers = decoder;
    CHECK(extension_error(tiny_t5<F, T5v11>(1, config)) <= 1e-5);
    CHECK(one_by_one_error(tiny_t5<F, T5v11>(1, config)) <= 1e-5);
  }
}

TEST_CASE("a batch of no sequences, and pieces of no tokens, can be read") {
  const auto check = [](const auto& model) {
    auto none = model.start({}, 4);
    CHECK(model.extend(none, {}).shape()[0] == 0);
    none.rewind({});
    auto state = model.start(sequences({{1, 2}, {3}}), 4);
    const auto before = state.hidden.to_host();
    CHECK(model.extend(state, sequences({{}, {}})).shape() == Shape{0, state.hidden.last()});
    CHECK(state.hidden.to_host() == before);
  };
  check(tiny_decoder<D>(1));
  check(tiny_t5<D>(1));
}

TEST_CASE("what cannot be read or forgotten is an error, and the state stays what it was") {
  const auto model = tiny_decoder<D>(1);
  const auto t5 = tiny_t5<D>(1);
  auto state = model.start(sequences({{1, 2}, {3}}), 4);
  auto other = t5.start(sequences({{1, 2}, {3}}), 4);
  const auto refusal = [](const auto& m, auto& s, const std::vector<Ids>& tokens) {
    return message_of<Error>([&] { (void)m.extend(s, sequences(tokens)); });
  };
  CHECK(refusal(model, state, {{1}}) == "[decoder] tokens of 1 sequences, but 2 are live");
  CHECK(refusal(t5, other, {{1}, {2}, {3}}) == "[encoder_decoder] tokens of 3 sequences, but 2 are live");
  CHECK(refusal(model, state, {{1}, {2, 11}}) == "[decoder] token 11 is outside the vocabulary of 11");
  CHECK(refusal(model, state, {{1}, {1, 1, 1, 1, 1, 1}}) ==
        "[kv_cache] a sequence of 7 tokens outgrows the capacity of 6");
  CHECK(message_of<ValueError>([&] {
          state.rewind(Ids{0, 2});
        }) == "[kv_cache] sequence 1 has 1 tokens, 2 cannot be forgotten");
  CHECK_THROWS_AS(model.advance(state, Ids{1}), ShapeError);

  auto fresh = model.start(sequences({{1, 2}, {3}}), 4);
  const Sequences tokens = sequences({{4}, {5, 6}});
  CHECK(model.extend(state, tokens).to_host() == model.extend(fresh, tokens).to_host());
}
