// RL + GKD by enumeration: at alpha = 1 its gradient is GKD's, at alpha = 0 REINFORCE's, in between their
// sum.
#include "retort/distill/rl_gkd.hpp"

#include "catch.hpp"
#include "four_tokens.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using Numbers = std::vector<double>;

namespace {

/// A reward that no simple function of the length or of a single token gives.
double reward_of(std::span<const std::int32_t> response) {
  double sum = 0.3;
  for (std::size_t t = 0; t < response.size(); ++t)
    sum = std::fmod(1.7 * sum + response[t] * (static_cast<double>(t) + 1.3), 2.1);
  return sum;
}

template <class Model>
struct Case {
  Model student, teacher;
  Enumeration all{};
  Numbers log_q = all.sums(all.token_logs(student));

  [[nodiscard]] Numbers rewards() const {
    Numbers out;
    for (int i = 0; i < all.size(); ++i) out.push_back(reward_of(all.batch.responses[i]));
    return out;
  }
  [[nodiscard]] double expected_reward() const {
    double sum = 0;
    const Numbers r = rewards();
    for (std::size_t i = 0; i < r.size(); ++i) sum += std::exp(log_q[i]) * r[i];
    return sum;
  }

  /// Gradient of `loss(context, examples with the response i)`, times q(y_i), summed over all responses.
  template <class LossOf>
  [[nodiscard]] Numbers expectation(LossOf loss_of) {
    const auto list = parameters(student);
    Numbers sum(gradients<Double>(list).size(), 0);
    for (int i = 0; i < all.size(); ++i) {
      for (auto* p : list) p->clear_grad();
      Tape<Double> tape;
      Context<Double> context{.tape = &tape};
      tape.backward(loss_of(context, all.batch.slice(i, i + 1), static_cast<std::size_t>(i)));
      const Numbers g = gradients<Double>(list);
      for (std::size_t k = 0; k < sum.size(); ++k)
        sum[k] += std::exp(log_q[static_cast<std::size_t>(i)]) * g[k];
    }
    return sum;
  }

  /// Expectation of RlGkd's gradient with these advantages.
  template <class D>
  [[nodiscard]] Numbers of(const RlGkd<D>& how, const Numbers& advantages, const Model* with) {
    return expectation([&](Context<Double>& context, const Batch& one, std::size_t i) {
      return rl_gkd_loss(how, context, student, with, one, std::span(&advantages[i], 1),
                         Normaliser::of(one.responses))
          .value;
    });
  }

  /// -grad E[r], by central differences of the expectation.
  [[nodiscard]] Numbers reinforce() {
    Numbers out;
    const Numbers r = rewards();
    const auto value = [&] {
      const Numbers q = all.sums(all.token_logs(student));
      double sum = 0;
      for (std::size_t i = 0; i < q.size(); ++i) sum -= std::exp(q[i]) * r[i];
      return sum;
    };
    for (auto* p : parameters(student))
      for (double& w : p->value.span()) {
        const double before = w, h = 1e-5;
        w = before + h;
        const double above = value();
        w = before - h;
        out.push_back((above - value()) / (2 * h));
        w = before;
      }
    return out;
  }
};

template <class F>
void both(F f) {
  Case<Decoder<Double>> decoders{four_token_decoder<Double>(1), four_token_decoder<Double>(2)};
  f(decoders);
  Case<EncoderDecoder<Double, T5v11>> encoder_decoders{four_token_t5<Double>(1), four_token_t5<Double>(2)};
  f(encoder_decoders);
}

}  // namespace

TEST_CASE("at alpha = 1 the gradient is that of on-policy GKD") {
  both([](auto& c) {
    const Numbers gkd = c.expectation([&](Context<Double>& context, const Batch& one, std::size_t) {
      return objective_loss(Jsd{0.9}, context, c.student, &c.teacher, one, Normaliser::of(one.responses))
          .value;
    });
    CHECK(relative_difference(c.of(RlGkd<Jsd>{.alpha = 1, .divergence = {0.9}}, c.rewards(), &c.teacher),
                              gkd) <= 1e-12);
  });
}

TEST_CASE("at alpha = 0 it is REINFORCE's, whatever the baseline, and needs no teacher") {
  both([](auto& c) {
    const Numbers exact = c.reinforce(), rewards = c.rewards();
    const RlGkd<> rl{.alpha = 0};
    const decltype(&c.teacher) nobody = nullptr;
    const Numbers plain = c.of(rl, rewards, nobody);
    CHECK(relative_difference(plain, exact) <= 1e-8);  // the finite differences' accuracy
    // the mean of other samples, in expectation the expected reward, and a mean of other times
    for (const double baseline : {c.expected_reward(), 1.7}) {
      Numbers advantages = rewards;
      for (double& a : advantages) a -= baseline;
      CHECK(relative_difference(c.of(rl, advantages, nobody), plain) <= 1e-12);
    }
  });
}

TEST_CASE("in between it is the weighted sum of both") {
  both([](auto& c) {
    const Numbers rewards = c.rewards();
    const auto at = [&](double alpha) { return c.of(RlGkd<>{.alpha = alpha}, rewards, &c.teacher); };
    const Numbers gkd = at(1), rl = at(0);
    Numbers sum;
    for (std::size_t k = 0; k < gkd.size(); ++k) sum.push_back(0.25 * gkd[k] + 0.75 * rl[k]);
    CHECK(relative_difference(at(0.25), sum) <= 1e-12);
  });
}

TEST_CASE("the mean of a group's other samples, by enumeration of pairs, leaves the gradient as it is") {
  Case<Decoder<Double>> c{four_token_decoder<Double>(1), four_token_decoder<Double>(2)};
  // E over the other sample of (r - r') is r - E[r]: the expectation over pairs is that over one with this
  // advantage.
  const Numbers rewards = c.rewards();
  Numbers advantages(rewards.size(), 0);
  for (std::size_t i = 0; i < rewards.size(); ++i)
    for (std::size_t j = 0; j < rewards.size(); ++j)
      advantages[i] +=
          std::exp(c.log_q[j]) * group_advantages(Baseline::group_mean, 2, {rewards[i], rewards[j]}, 0)[0];
  const Decoder<Double>* nobody = nullptr;
  CHECK(relative_difference(c.of(RlGkd<>{.alpha = 0}, advantages, nobody),
                            c.of(RlGkd<>{.alpha = 0}, rewards, nobody)) <= 1e-12);
}

TEST_CASE("advantages of groups, worked out by hand") {
  CHECK(group_advantages(Baseline::none, 2, {1, 2, 3, 4}, 9) == Numbers{1, 2, 3, 4});
  CHECK(group_advantages(Baseline::running_mean, 2, {1, 2, 3, 4}, 0.5) == Numbers{0.5, 1.5, 2.5, 3.5});
  CHECK(group_advantages(Baseline::group_mean, 2, {1, 2, 3, 7}, 9) == Numbers{-1, 1, -4, 4});
  CHECK(group_advantages(Baseline::group_mean, 3, {1, 2, 6}, 9) == Numbers{-3, -1.5, 4.5});
}

TEST_CASE("values of RL + GKD that are out of range are named") {
  CHECK(RlGkd<>{.alpha = 1.1}.problem() ==
        std::string("alpha, the share of distillation, must lie in [0, 1]"));
  CHECK(RlGkd<>{.group = 1}.problem() ==
        std::string("the mean of a group needs at least 2 samples of a prompt"));
  CHECK(RlGkd<>{.alpha = 1, .group = 1}.problem() == nullptr);
  CHECK(RlGkd<Jsd>{.divergence = {1}}.problem() ==
        std::string("beta = 1 is not a Jensen-Shannon divergence: use ReverseKl (reverse_kl)"));
}
