#include "retort/generate/beam_search.hpp"

#include "catch.hpp"
#include "naive.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// log p(token | prompt, tokens) of every token, from the uncached forward pass.
template <class Model>
naive::Row next_log_probabilities(const Model& model, const Ids& prompt, Ids tokens) {
  tokens.push_back(0);  // its logits are wanted, it is not read
  const auto all = response_logits(model, sequences({prompt}), sequences({tokens})).to_host();
  naive::Row p = naive::softmax(naive::Row(all.end() - model.vocabulary(), all.end()));
  for (double& x : p) x = std::log(x);
  return p;
}

void sort_best_first(std::vector<Hypothesis>& list) {
  std::ranges::stable_sort(list, [](const auto& a, const auto& b) { return a.score > b.score; });
}

/// Every response there is, scored, best first.
template <class Model>
std::vector<Hypothesis> all_responses(const Model& model, const Ids& prompt, const BeamOptions& options,
                                      const GnmtPenalty& penalty, const Hypothesis& so_far = {}) {
  std::vector<Hypothesis> list;
  const naive::Row log_p = next_log_probabilities(model, prompt, so_far.tokens);
  for (std::int32_t token = 0; token < model.vocabulary(); ++token) {
    Hypothesis h = so_far;
    h.tokens.push_back(token);
    h.log_probability += log_p[static_cast<std::size_t>(token)];
    h.score = h.log_probability / penalty(std::ssize(h.tokens));
    if (token == options.end_token || std::ssize(h.tokens) == options.max_tokens)
      list.push_back(h);
    else
      for (auto& longer : all_responses(model, prompt, options, penalty, h)) list.push_back(longer);
  }
  sort_best_first(list);
  return list;
}

/// Beam search without a cache and without stopping early: of all continuations the 2 * beams most probable;
/// of those that end, the ones among the first `beams` are finished, of the others `beams` go on.
template <class Model, class Penalty>
std::vector<Hypothesis> naive_beam_search(const Model& model, const Ids& prompt, const BeamOptions& options,
                                          const Penalty& penalty) {
  std::vector<Hypothesis> done, beams{{}};
  const auto width = static_cast<std::size_t>(options.beams);
  for (Index t = 1; t <= options.max_tokens; ++t) {
    std::vector<Hypothesis> next;
    for (const auto& beam : beams) {
      const naive::Row log_p = next_log_probabilities(model, prompt, beam.tokens);
      for (std::size_t v = 0; v < log_p.size(); ++v) {
        next.push_back(beam);
        next.back().tokens.push_back(static_cast<std::int32_t>(v));
        next.back().log_probability += log_p[v];
      }
    }
    std::ranges::stable_sort(
        next, [](const auto& a, const auto& b) { return a.log_probability > b.log_probability; });
    if (next.size() > 2 * width) next.resize(2 * width);
    beams.clear();
    for (std::size_t i = 0; i < next.size(); ++i) {
      next[i].score = next[i].log_probability / penalty(t);
      const bool ends = next[i].tokens.back() == options.end_token;
      if (ends && i < width) done.push_back(next[i]);
      if (!ends && beams.size() < width) beams.push_back(next[i]);
    }
  }
  done.insert(done.end(), beams.begin(), beams.end());
  sort_best_first(done);
  if (done.size() > width) done.resize(width);
  return done;
}

void check_same(const std::vector<Hypothesis>& given, const std::vector<Hypothesis>& right) {
  REQUIRE(given.size() == right.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    CAPTURE(i, given[i].tokens, right[i].tokens, given[i].score, right[i].score);
    CHECK(given[i].tokens == right[i].tokens);
    CHECK(given[i].score == Approx(right[i].score).epsilon(1e-10));
    CHECK(given[i].log_probability == Approx(right[i].log_probability).epsilon(1e-10));
  }
}

/// A language model of four tokens in which each token has a distribution of the next one, and no layers.
class Markov {
 public:
  using Backend = D;
  explicit Markov(const std::vector<naive::Row>& next) : logits_("next", {4, 4}) {
    for (std::size_t token = 0; token < 4; ++token)
      for (std::size_t v = 0; v < 4; ++v)  // ten times as much overflows to -inf for probability 0
        logits_.value.data()[v * 4 + token] = next[token][v] > 0 ? std::log(next[token][v]) / 10 : -1e308;
  }
  [[nodiscard]] Index vocabulary() const { return 4; }
  [[nodiscard]] Head<D> head() const { return {.weight = &logits_}; }
  [[nodiscard]] Variable<D> hidden(Context<D>&, const Sequences& prompts, const Sequences& responses) const {
    Ids before;
    for (int i = 0; i < prompts.size(); ++i) {
      before.push_back(prompts[i].back());
      before.insert(before.end(), responses[i].begin(), responses[i].end() - 1);
    }
    return Variable<D>(one_hot(before));
  }
  [[nodiscard]] DecodeState<D> start(const Sequences& prompts, Index room) const {
    DecodeState<D> state;
    state.cache = nn::KvCache<D>(0, prompts.size(), room, 1);
    Ids last;
    for (int i = 0; i < prompts.size(); ++i) last.push_back(prompts[i].back());
    state.hidden = one_hot(last);
    return state;
  }
  void advance(DecodeState<D>& state, std::span<const std::int32_t> tokens) const {
    state.hidden = one_hot(tokens);
  }
  template <class F>
  void each_parameter(F&& f) {
    f(logits_);
  }

 private:
  Parameter<D> logits_;

  static TensorOf<D> one_hot(std::span<const std::int32_t> tokens) {
    auto rows = TensorOf<D>::zeros({std::ssize(tokens), 4});
    for (std::size_t i = 0; i < tokens.size(); ++i)
      rows.data()[4 * i + static_cast<std::size_t>(tokens[i])] = 10;
    return rows;
  }
};

/// A model that counts the prompts' tokens that it reads.
template <class Model>
struct Counting {
  using Backend = D;
  Model& model;
  mutable Index read = 0;

  [[nodiscard]] Index vocabulary() const { return model.vocabulary(); }
  [[nodiscard]] Head<D> head() const { return model.head(); }
  [[nodiscard]] Variable<D> hidden(Context<D>& context, const Sequences& p, const Sequences& r) const {
    return model.hidden(context, p, r);
  }
  [[nodiscard]] DecodeState<D> start(const Sequences& p, Index room) const {
    read += p.total();
    return model.start(p, room);
  }
  void advance(DecodeState<D>& state, std::span<const std::int32_t> tokens) const {
    model.advance(state, tokens);
  }
  template <class F>
  void each_parameter(F&& f) {
    model.each_parameter(f);
  }
};

const std::vector<Ids> prompts{{3, 4, 5}, {9}, {2, 2}, {7, 1, 8, 6}};

auto small_decoder() {
  auto config = tiny_decoder_config();
  config.vocabulary = 4;
  return tiny_decoder<D>(11, config);
}

}  // namespace

TEST_CASE("with beams for every prefix the search finds what enumeration finds, under any length penalty") {
  const auto model = small_decoder();
  const Ids prompt{3, 2};
  const BeamOptions options{.beams = 200, .max_tokens = 4, .end_token = 1};
  for (const double alpha : {-1.0, 0.0, 0.6, 2.0}) {
    CAPTURE(alpha);
    const auto right = all_responses(model, prompt, options, {alpha});
    REQUIRE(right.size() == 1 + 3 + 9 + 108);
    check_same(beam_search(model, sequences({prompt}), options, GnmtPenalty{alpha})[0], right);
  }
}

TEST_CASE("stopping early loses nothing, cached and batched prompts change nothing") {
  const auto check = [](const auto& model) {
    for (const Index beams : {1, 2, 4})
      for (const double alpha : {-2.0, 0.0, 0.6, 3.0}) {
        const BeamOptions options{.beams = beams, .max_tokens = 7, .end_token = 1};
        const auto given = beam_search(model, sequences(prompts), options, GnmtPenalty{alpha});
        for (std::size_t i = 0; i < prompts.size(); ++i) {
          CAPTURE(beams, alpha, i);
          check_same(given[i], naive_beam_search(model, prompts[i], options, GnmtPenalty{alpha}));
        }
      }
  };
  check(tiny_decoder<D>(12));
  check(tiny_t5<D>(13));
}

TEST_CASE("a prompt is read once, whatever the number of its beams") {
  const auto check = [](auto model) {
    const Counting<decltype(model)> counting{model};
    const BeamOptions options{.beams = 5, .max_tokens = 4, .end_token = 1};
    const auto given = beam_search(counting, sequences(prompts), options);
    CHECK(counting.read == 3 + 1 + 2 + 4);
    for (std::size_t i = 0; i < prompts.size(); ++i)
      check_same(given[i], beam_search(model, sequences({prompts[i]}), options)[0]);
  };
  check(tiny_decoder<D>(12));
  check(tiny_t5<D>(13));
}

TEST_CASE("a penalty that falls with the length does not end the search too early") {
  // 1 ends. After two steps [1] and [0, 1] are found, and the beam [0, 0] would score -4.3 at the longest
  // length; ended at once it is better than [1].
  const Markov model({{0.5, 0.5, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0.9, 0.06, 0.04, 0}});
  const BeamOptions options{.beams = 2, .max_tokens = 9, .end_token = 1};
  const auto given = beam_search(model, sequences({{3}}), options, GnmtPenalty{-2})[0];
  check_same(given, naive_beam_search(model, {3}, options, GnmtPenalty{-2}));
  CHECK(given[0].tokens == Ids{0, 1});
  CHECK(given[1].tokens == Ids{0, 0, 1});
}

TEST_CASE("responses of probability 0 are no hypotheses") {
  const Markov model({{0, 1, 0, 0}, {0, 1, 0, 0}, {0, 1, 0, 0}, {0.5, 0, 0.5, 0}});
  const auto found = beam_search(model, sequences({{3}}), {.beams = 4, .max_tokens = 5, .end_token = 1})[0];
  REQUIRE(found.size() == 2);
  CHECK(found[0].tokens == Ids{0, 1});
  CHECK(found[1].tokens == Ids{2, 1});
  CHECK(found[0].log_probability == Approx(std::log(0.5)));
}

TEST_CASE("one beam without a length penalty is greedy decoding") {
  const auto model = tiny_t5<D>(13);
  const std::vector<std::uint64_t> ids{0, 1, 2, 3};
  const Generated greedy =
      generate(model, sequences(prompts), ids, Greedy{}, {.max_tokens = 8, .end_token = 5});
  const auto beams =
      beam_search(model, sequences(prompts), {.beams = 1, .max_tokens = 8, .end_token = 5}, GnmtPenalty{0});
  for (int i = 0; i < 4; ++i)
    CHECK(beams[static_cast<std::size_t>(i)][0].tokens == list(greedy.responses[i]));
}

TEST_CASE("the length penalty is ((5 + L) / 6)^alpha and moves the choice between short and long") {
  CHECK(GnmtPenalty{0.6}(1) == 1);
  CHECK(GnmtPenalty{0.6}(7) == Approx(std::pow(2.0, 0.6)));
  CHECK(GnmtPenalty{0}(100) == 1);
  const auto model = small_decoder();
  const auto best = [&](double alpha) {
    return beam_search(model, sequences({{3, 2}}), {.beams = 100, .max_tokens = 4, .end_token = 1},
                       GnmtPenalty{alpha})[0][0];
  };
  const auto short_one = best(-4), long_one = best(8);
  CHECK(short_one.tokens.size() == 1);
  CHECK(long_one.tokens.size() == 4);
  CHECK(short_one.score == Approx(short_one.log_probability / GnmtPenalty{-4}(1)));
  CHECK(long_one.score == Approx(long_one.log_probability / GnmtPenalty{8}(4)));
}

TEST_CASE("a user's penalty is a function of the length") {
  const auto model = small_decoder();
  const auto mean = [](Index length) { return static_cast<double>(length); };  // log-probability a token
  const BeamOptions options{.beams = 3, .max_tokens = 5, .end_token = 1};
  check_same(beam_search(model, sequences({{3, 2}}), options, mean)[0],
             naive_beam_search(model, {3, 2}, options, mean));
}

TEST_CASE("hypotheses end with the end token or at the longest length, best first, none twice") {
  const auto model = tiny_decoder<D>(12);
  const BeamOptions options{.beams = 5, .max_tokens = 6, .end_token = 2};
  for (const auto& list : beam_search(model, sequences(prompts), options)) {
    REQUIRE(list.size() == 5);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto& tokens = list[i].tokens;
      CHECK((tokens.back() == 2 || tokens.size() == 6));
      CHECK(std::ranges::count(tokens, 2) == (tokens.back() == 2));
      if (i > 0) CHECK(list[i - 1].score >= list[i].score);
      for (std::size_t j = 0; j < i; ++j) CHECK(list[j].tokens != tokens);
    }
  }
}

TEST_CASE("where there are fewer responses than beams, all of them are found") {
  const auto model = small_decoder();
  const auto found = beam_search(model, sequences({{3, 2}}), {.beams = 50, .max_tokens = 1, .end_token = 1});
  CHECK(found[0].size() == 4);
  const auto two = beam_search(model, sequences({{3, 2}}), {.beams = 50, .max_tokens = 2, .end_token = 1});
  CHECK(two[0].size() == 13);
}

TEST_CASE("nothing to search and what cannot be searched") {
  auto model = small_decoder();
  CHECK(beam_search(model, Sequences{}, {}).empty());
  CHECK(message_of<ValueError>([&] { (void)beam_search(model, sequences({{1}}), {.beams = 0}); }) ==
        "[beam_search] 0 beams of 128 tokens, expected at least 1");
  CHECK_THROWS_AS(beam_search(model, sequences({{1}}), {.beams = 2, .max_tokens = 0}), ValueError);
  CHECK_THROWS_AS(beam_search(model, sequences({{}}), {.beams = 2, .max_tokens = 2}), ValueError);
  for (auto* p : parameters(model)) p->value.data()[0] = std::nan("");
  CHECK_THROWS_AS(beam_search(model, sequences({{1}}), {.beams = 2, .max_tokens = 2}), NumericError);
}
