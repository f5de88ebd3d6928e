// Old samples, by enumeration: with prefix weights their expectation under the student that drew them is the
// on-policy gradient of the student that learns; with other weights it is not.
#include "retort/distill/reuse.hpp"

#include "catch.hpp"
#include "four_tokens.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using Numbers = std::vector<double>;

namespace {

constexpr ObjectiveOptions sum_of_tokens{.reduction = Reduction::sequence_sum};

template <class Model>
struct Case {
  Model student, teacher, old;
  Enumeration all{};

  template <class LossOf>
  [[nodiscard]] Numbers expectation(const Numbers& log_draw, LossOf loss_of) {
    const auto list = parameters(student);
    const Numbers logs = all.sums(log_draw);
    Numbers sum(gradients<Double>(list).size(), 0);
    for (int i = 0; i < all.size(); ++i) {
      for (auto* p : list) p->clear_grad();
      Tape<Double> tape;
      Context<Double> context{.tape = &tape};
      tape.backward(loss_of(context, i));
      const Numbers g = gradients<Double>(list);
      for (std::size_t k = 0; k < sum.size(); ++k)
        sum[k] += std::exp(logs[static_cast<std::size_t>(i)]) * g[k];
    }
    return sum;
  }
  [[nodiscard]] Numbers on_policy(const ObjectiveOptions& options) {
    return expectation(all.token_logs(student), [&](Context<Double>& context, int i) {
      const Batch one = all.batch.slice(i, i + 1);
      return objective_loss(Jsd{0.4}, context, student, &teacher, one, Normaliser::of(one.responses), options)
          .value;
    });
  }
  [[nodiscard]] Numbers reused(StalenessWeight weight, const ObjectiveOptions& options,
                               double limit = HUGE_VAL) {
    const Numbers log_old = all.token_logs(old);
    const Rollouts rollouts{all.batch, log_old, log_old, log_old};
    return expectation(log_old, [&](Context<Double>& context, int i) {
      const Rollouts one = rollouts.select(std::vector{i});
      return reused_loss(Jsd{0.4}, {.weight = weight, .limit = limit}, context, student, teacher, one,
                         Normaliser::of(one.samples.responses), options)
          .value;
    });
  }
};

double apart(const Numbers& a, const Numbers& b) {
  double off = 0, norm = 0;
  for (std::size_t k = 0; k < a.size(); ++k) off += (a[k] - b[k]) * (a[k] - b[k]), norm += b[k] * b[k];
  return std::sqrt(off / norm);
}

/// A model whose weights are `share` of the way from one to another.
template <class Model>
Model between(const Model& from, const Model& to, double share) {
  Model out = from;
  Model target = to;
  const auto list = parameters(out), other = parameters(target);
  for (std::size_t i = 0; i < list.size(); ++i)
    for (std::size_t k = 0; k < list[i]->value.span().size(); ++k)
      list[i]->value.span()[k] += share * (other[i]->value.span()[k] - list[i]->value.span()[k]);
  return out;
}

template <class F>
void both(F f) {
  const auto a = four_token_decoder<Double>(1), b = four_token_decoder<Double>(2);
  Case<Decoder<Double>> decoders{a, b, between(a, four_token_decoder<Double>(3), 0.2)};
  f(decoders);
  const auto c = four_token_t5<Double>(1), d = four_token_t5<Double>(2);
  Case<EncoderDecoder<Double, T5v11>> encoder_decoders{c, d, between(c, four_token_t5<Double>(3), 0.2)};
  f(encoder_decoders);
}

}  // namespace

TEST_CASE("old samples with prefix weights have the on-policy gradient") {
  both([](auto& c) {
    CHECK(relative_difference(c.reused(StalenessWeight::prefix, sum_of_tokens), c.on_policy(sum_of_tokens)) <=
          1e-9);
  });
}

TEST_CASE("other weights do not, and the token's own ratio corrects nothing") {
  Case<Decoder<Double>> c{four_token_decoder<Double>(1), four_token_decoder<Double>(2),
                          between(four_token_decoder<Double>(1), four_token_decoder<Double>(3), 0.2)};
  const Numbers exact = c.on_policy(sum_of_tokens);
  // The figures of docs/architecture.md.
  CHECK(apart(c.reused(StalenessWeight::none, sum_of_tokens), exact) == Approx(0.564).margin(0.0005));
  CHECK(apart(c.reused(StalenessWeight::token, sum_of_tokens), exact) == Approx(0.564).margin(0.0005));
  CHECK(relative_difference(c.reused(StalenessWeight::token, sum_of_tokens),
                            c.reused(StalenessWeight::none, sum_of_tokens)) <= 1e-9);
  // the mean over a response's tokens depends on its length, on what comes later: some bias is left
  const ObjectiveOptions mean_of_tokens{};
  CHECK(apart(c.reused(StalenessWeight::prefix, mean_of_tokens), c.on_policy(mean_of_tokens)) ==
        Approx(0.276).margin(0.0005));
  CHECK(apart(c.reused(StalenessWeight::none, mean_of_tokens), c.on_policy(mean_of_tokens)) ==
        Approx(0.414).margin(0.0005));
}

TEST_CASE("fresh samples have weight 1, and large weights are cut") {
  const auto student = four_token_decoder<Double>(1);
  Case<Decoder<Double>> c{student, four_token_decoder<Double>(2), student};
  for (const auto weight : {StalenessWeight::none, StalenessWeight::token, StalenessWeight::prefix})
    CHECK(relative_difference(c.reused(weight, {}), c.on_policy({})) <= 1e-12);

  Rollouts samples;
  samples.samples.push_back(Ids{2}, Ids{3, 2, 3}, 0);
  samples.log_draw = {-60, -1, -1};
  Context<Double> silent;
  const auto loss = reused_loss(ForwardKl{}, {.limit = 3}, silent, student, c.teacher, samples,
                                Normaliser::of(samples.samples.responses));
  CHECK(loss.weights[0] == 1);
  CHECK(loss.weights[1] == 3);
}
