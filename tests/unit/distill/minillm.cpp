// MiniLLM's pieces against numbers worked out elsewhere: the golden values of docs/formulas.md, and the
// faults that other implementations have.
#include "retort/distill/minillm.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using Numbers = std::vector<double>;
using Offsets = std::vector<std::int32_t>;

namespace {

/// Every digit of numbers given to nine decimals.
void check(const Numbers& a, const Numbers& expected) {
  REQUIRE(a.size() == expected.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(i << ": " << a[i] << ", expected " << expected[i]);
    CHECK(std::abs(a[i] - expected[i]) <= 0.5e-9 + 1e-13);
  }
}

// One response of three tokens in a rectangle of four places. What the padding holds in the golden example (p
// .3, q .6 and .5) must not matter: it is not even there.
Rollouts golden_rollouts() {
  Rollouts r;
  r.samples.push_back(Ids{1}, Ids{2, 3, 4}, 0);
  const Numbers p{0.5, 0.2, 0.4}, q{0.4, 0.5, 0.1};
  for (std::size_t t = 0; t < p.size(); ++t) {
    r.log_teacher.push_back(std::log(p[t]));
    r.log_student.push_back(std::log(q[t]));
    r.log_draw.push_back(std::log(0.2 * p[t] + 0.8 * q[t]));
  }
  return r;
}

MiniLlm<> golden_setting(Whitening whitening) {
  MiniLlm<> how = minillm::reference();
  how.whitening = whitening;
  how.padded_length = 4;
  return how;
}

/// Mean over the tokens of the clipped surrogates at q_new.
double policy_loss(const MiniLlm<>& how) {
  const Rollouts r = golden_rollouts();
  const TokenTargets targets = token_targets(how, r);
  const Numbers q_new{0.45, 0.4, 0.15};
  double sum = 0;
  for (std::size_t t = 0; t < q_new.size(); ++t)
    sum += clipped_surrogate(how.clip, targets.advantage[t], targets.weight[t], std::log(q_new[t]),
                             r.log_student[t])
               .term.value;
  return sum / 3;
}

}  // namespace

TEST_CASE(
    "golden values of MiniLLM's reference variant: rewards, returns, whitening, weights, ratios, loss") {
  const Rollouts r = golden_rollouts();
  const Offsets offsets{0, 3};
  const MiniLlm<> how = golden_setting(Whitening::all);
  Numbers rewards = r.rewards();
  for (double& x : rewards) x = how.reward(x);
  check(rewards, {0.446287103, -1.832581464, 2.772588722});
  check(returns_of({.own_reward = true, .discount = 0.95}, rewards, offsets),
        {1.207596034, 0.801377822, 2.772588722});
  const Numbers normalised = returns_of(how.returns, rewards, offsets);
  check(normalised, {0.402532011, 0.400688911, 2.772588722});

  Numbers all = normalised, masked = normalised;
  whiten(Whitening::all, all, offsets, 4);
  check(all, {-0.447986523, -0.449666722, 1.712594245});
  whiten(Whitening::masked, masked, offsets, 4);
  check(masked, {-0.706282105, -0.707931131, 1.414213236});

  const TokenTargets targets = token_targets(how, r);
  check(targets.advantage, all);
  check(targets.weight, {0.952380952, 1.136363636, 0.625});
  check(targets.single_step, {1, 1, 1});
  Numbers rho;
  for (std::size_t t = 0; t < 3; ++t)
    rho.push_back(std::exp(std::log(Numbers{0.45, 0.4, 0.15}[t]) - r.log_student[t]) * targets.weight[t]);
  check(rho, {1.071428571, 0.909090909, 0.9375});

  check({policy_loss(golden_setting(Whitening::all))}, {-0.238927872});
  check({policy_loss(golden_setting(Whitening::masked))}, {0.024826558});
  check({policy_loss(golden_setting(Whitening::none))}, {-1.131616290});
}

TEST_CASE("golden values of MiniLLM's paper variant: returns and loss") {
  check(token_targets(minillm::paper(), golden_rollouts()).advantage, {0.235001815, 1.386294361, 0});
  check(token_targets(minillm::paper(), golden_rollouts()).weight, {0.952380952, 1.136363636, 0.625});
  check({3 * policy_loss(minillm::paper())}, {-1.512055260});
}

TEST_CASE("returns count no padding, and discounts do not underflow") {
  // r = [1.5, 1, 2, 2] with mask [1, 1, 0, 0]: a ragged row has no third place
  check(returns_of({.own_reward = true}, Numbers{1.5, 1}, Offsets{0, 2}), {2.5, 1});
  // two sequences do not run into each other; an empty one is nothing
  check(returns_of({.own_reward = true}, Numbers{1, 2, 4, 8}, Offsets{0, 2, 2, 4}), {3, 2, 12, 8});
  check(returns_of({}, Numbers{1, 2, 4, 8}, Offsets{0, 2, 2, 4}), {2, 0, 8, 0});
  check(returns_of({.length_normalised = true}, Numbers{1, 2, 4, 8, 16}, Offsets{0, 4, 5}),
        {14.0 / 3, 6, 8, 0, 0});

  const Numbers ones(512, 1.0);
  const Numbers discounted = returns_of({.own_reward = true, .discount = 0.9}, ones, Offsets{0, 512});
  for (int t = 0; t < 512; ++t)
    REQUIRE(discounted[static_cast<std::size_t>(t)] ==
            Approx((1 - std::pow(0.9, 512 - t)) / 0.1).epsilon(1e-12));
}

TEST_CASE("importance weights of a step, of a response and of what comes before a token") {
  const Numbers ratio{std::log(2.0), std::log(0.5), std::log(3.0), std::log(4.0)};
  const Offsets offsets{0, 3, 4};
  using enum ImportanceWeight;
  check(importance_weights(none, ratio, offsets, false), {1, 1, 1, 1});
  check(importance_weights(single_step, ratio, offsets, false), {2, 0.5, 3, 4});
  check(importance_weights(single_step, ratio, offsets, true), {2, 0.5, 3, 4});
  check(importance_weights(product, ratio, offsets, false), {3, 3, 3, 4});
  check(importance_weights(product, ratio, offsets, true), {1, 2, 1, 1});
  const Numbers tiny(5000, std::log(0.5));  // a product that underflows is 0, not NaN
  CHECK(importance_weights(product, tiny, Offsets{0, 5000}, false).front() == 0);
}

TEST_CASE("a clipped token has no gradient; the slope of the others is that of the value") {
  for (const bool inside : {false, true})
    for (const double advantage : {-1.5, 0.7})
      for (const double weight : {0.5, 1.3})
        for (const double log_q : {-2.0, -1.3, -1.0, -0.8, -0.5}) {
          const RatioClip how{.epsilon = 0.2, .weight_inside = inside};
          const auto at = [&](double x) { return clipped_surrogate(how, advantage, weight, x, -1.0); };
          const Surrogate s = at(log_q);
          const double h = 1e-6, slope = (at(log_q + h).term.value - at(log_q - h).term.value) / (2 * h);
          CAPTURE(inside, advantage, weight, log_q);
          CHECK(s.term.slope == Approx(slope).margin(1e-7));
          const double rho = std::exp(log_q + 1) * (inside ? weight : 1);
          CHECK(s.clipped == ((advantage > 0 && rho > 1.2) || (advantage < 0 && rho < 0.8)));
        }
  CHECK_FALSE(clipped_surrogate({.epsilon = HUGE_VAL}, 1, 1, 5, -5).clipped);
}

TEST_CASE("a token that the teacher cannot say is an error that names it, or a limited reward") {
  Rollouts r = golden_rollouts();
  r.samples.ids = {42};
  r.log_teacher[1] = -HUGE_VAL;
  CHECK(message_of<NumericError>([&] { (void)token_targets(minillm::paper(), r); }) ==
        "[minillm] the reward of token 3 at place 1 of the response to prompt 42 is -inf: log p = -inf, log "
        "q = "
        "-0.6931471805599453; a limit of rewards would cut it");
  MiniLlm<> how = minillm::paper();
  how.reward.limit = 10;
  check(token_targets(how, r).advantage, {(-10 + std::log(4.0)) / 2, std::log(4.0), 0});
}

TEST_CASE("values of a MiniLLM setting that are out of range are named") {
  const auto problem = [](auto change) {
    MiniLlm<> how;
    change(how);
    return std::string(how.problem() == nullptr ? "" : how.problem());
  };
  CHECK(problem([](auto& h) { h.sampling.alpha = 1.5; }) == "alpha, the teacher's share, must lie in [0, 1]");
  CHECK(problem([](auto& h) { h.returns.discount = -0.1; }) == "the discount must lie in [0, 1]");
  CHECK(problem([](auto& h) { h.clip.epsilon = 0; }) == "epsilon must be above 0 (infinity: no clipping)");
  CHECK(problem([](auto& h) { h.reward.scale = 0; }) == "the scale of rewards must be above 0");
  CHECK(problem([](auto& h) { h.sampling.alpha = std::nan(""); }) ==
        "alpha, the teacher's share, must lie in [0, 1]");
  CHECK(problem([](auto&) {}).empty());
  CHECK(minillm::paper().problem() == nullptr);
  CHECK(minillm::reference().problem() == nullptr);
}
