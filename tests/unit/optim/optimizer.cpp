#include "retort/optim/optimizer.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"

using namespace retort;
using namespace retort::test;
using B = Cpu<float>;

namespace {

struct Pair {
  Parameter<B> matrix{"layer.matrix", {48, 200}};
  Parameter<B> bias{"layer.bias", {33}};

  Pair() {
    for (auto* p : list())
      for (Index i = 0; i < p->value.size(); ++i) p->value.data()[i] = std::sin(0.3f * static_cast<float>(i));
  }
  ParameterList<B> list() { return {&matrix, &bias}; }
  // The gradient of half the sum of (w - 1)^2.
  void pull_to_one() {
    for (auto* p : list()) {
      (void)p->open_grad();
      for (Index i = 0; i < p->value.size(); ++i) p->grad.data()[i] = p->value.data()[i] - 1;
    }
  }
  std::vector<float> weights() {
    auto all = matrix.value.to_host();
    const auto more = bias.value.to_host();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  double distance() {
    double sum = 0;
    for (const float w : weights()) sum += (w - 1) * (w - 1);
    return std::sqrt(sum);
  }
};

// A user's own optimizer: the sign of the gradient.
struct SignDescent {
  static constexpr const char* name = "sign_descent";
  double learning_rate = 0.1;

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape&) const { return {}; }
  template <Backend Any>
  void update(Parameter<Any>& p, std::span<TensorOf<Any>>, const UpdateStep& step) const {
    for (Index i = 0; i < p.value.size(); ++i)
      p.value.data()[i] -= std::copysign(static_cast<typename Any::Scalar>(learning_rate * step.rate_factor),
                                         p.grad.data()[i]);
  }
  template <class F>
  void each_field(F&& f) const {
    f("learning_rate", learning_rate);
  }
};

}  // namespace

TEST_CASE("every optimizer finds the minimum of a quadratic") {
  const auto check = [](const auto& policy, int steps) {
    Pair model;
    auto optimizer = policy.on(model.list());
    const double before = model.distance();
    for (int i = 0; i < steps; ++i) {
      model.pull_to_one();
      optimizer.step({.rate_factor = 1 - static_cast<double>(i) / steps});
    }
    INFO(summary(policy));
    CHECK(model.distance() < 1e-3 * before);
  };
  check(Sgd{.learning_rate = 0.3}, 60);
  check(Sgd{.learning_rate = 0.05, .momentum = 0.8}, 200);
  check(Sgd{.learning_rate = 0.05, .momentum = 0.8, .nesterov = true}, 200);
  check(AdamW{.learning_rate = 0.05, .weight_decay = 0}, 400);
  check(Adafactor{.learning_rate = 0.05}, 800);
  check(Adafactor{.learning_rate = 0.05, .beta1 = 0.9, .scale_parameter = false}, 800);
}

TEST_CASE("steps are the same bits whatever the number of threads") {
  const int threads = thread_count();
  const auto train = [](const auto& policy, int count) {
    set_thread_count(count);
    Parameter<B> matrix("matrix", {300, 701}), vector("vector", {100'003});  // every loop is split
    const ParameterList<B> list{&matrix, &vector};
    auto optimizer = policy.on(list);
    for (auto* p : list)
      for (Index i = 0; i < p->value.size(); ++i)
        p->value.data()[i] = std::sin(0.01f * static_cast<float>(i));
    for (int step = 0; step < 3; ++step) {
      for (auto* p : list) {
        (void)p->open_grad();
        for (Index i = 0; i < p->grad.size(); ++i)
          p->grad.data()[i] = std::cos(0.37f * static_cast<float>(i + step));
      }
      optimizer.step({.gradient_scale = 0.7});
    }
    auto weights = matrix.value.to_host();
    for (const float w : vector.value.span()) weights.push_back(w);
    return weights;
  };
  const auto check = [&](const auto& policy) {
    const auto one = train(policy, 1);
    for (const int count : {2, 3, 7}) CHECK(train(policy, count) == one);
    set_thread_count(threads);
  };
  check(AdamW{});
  check(Sgd{.weight_decay = 0.1});
  check(Sgd{.momentum = 0.9});
  check(Adafactor{.beta1 = 0.5});
}

TEST_CASE("a parameter without gradient or not trainable keeps weight and state") {
  Pair model;
  auto optimizer = AdamW{}.on(model.list());
  model.pull_to_one();
  model.bias.clear_grad();
  optimizer.step();
  model.pull_to_one();
  model.matrix.trainable = false;
  optimizer.step();
  CHECK(optimizer.steps() == 2);
  CHECK(optimizer.updates() == std::vector<Index>{1, 1});

  // Each was updated once: its first update, with the bias correction of a first update.
  Pair other;
  auto once = AdamW{}.on(other.list());
  other.pull_to_one();
  once.step();
  CHECK(model.weights() == other.weights());
}

TEST_CASE("frozen parameters cost no state until they are trained") {
  Pair model;
  model.matrix.trainable = false;
  auto optimizer = AdamW{}.on(model.list());
  std::vector<std::string> names;
  const auto collect = [&](const std::string& name, const auto&) { names.push_back(name); };
  optimizer.each_state(collect);
  CHECK(names == std::vector<std::string>{"layer.bias.first_moment", "layer.bias.second_moment"});
  model.matrix.trainable = true;
  model.pull_to_one();
  optimizer.step();
  names.clear();
  optimizer.each_state(collect);
  CHECK(names.size() == 4);
}

TEST_CASE("a step uses the gradients up: the next one without a backward pass changes nothing") {
  Pair model;
  auto optimizer = Sgd{}.on(model.list());
  model.pull_to_one();
  optimizer.step();
  CHECK_FALSE(model.matrix.has_grad);
  const auto after = model.weights();
  optimizer.step();
  CHECK(model.weights() == after);
  model.pull_to_one();
  optimizer.zero_grad();
  optimizer.step();
  CHECK(model.weights() == after);
}

TEST_CASE("the gradient of a loss whose backward never ran is refused, and nothing is changed") {
  Pair model;
  auto optimizer = Sgd{}.on(model.list());
  model.pull_to_one();
  model.bias.open_losses = 1;
  const auto before = model.weights();
  CHECK(message_of<ValueError>([&] { optimizer.step(); }) ==
        "[sgd] the gradient of layer.bias holds 1 loss(es) that await backward()");
  CHECK(model.weights() == before);
  CHECK(optimizer.steps() == 0);
}

TEST_CASE("state and counts carried over continue a run bit for bit") {
  const auto check = [](const auto& policy) {
    Pair whole, half;
    auto uninterrupted = policy.on(whole.list());
    auto first = policy.on(half.list());
    const auto steps = [](Pair& model, auto& optimizer) {
      for (int i = 0; i < 3; ++i) {
        model.pull_to_one();
        optimizer.step();
      }
    };
    steps(whole, uninterrupted);
    steps(whole, uninterrupted);
    steps(half, first);
    auto second = policy.on(half.list());
    std::vector<std::pair<std::string, std::vector<float>>> saved;
    std::as_const(first).each_state(
        [&](const std::string& name, const auto& t) { saved.emplace_back(name, t.to_host()); });
    std::size_t at = 0;
    second.each_state([&](const std::string& name, auto& t) {
      CHECK(name == saved[at].first);
      std::ranges::copy(saved[at++].second, t.data());
    });
    second.restore_counts(first.steps(), first.updates());
    steps(half, second);
    CHECK(half.weights() == whole.weights());
    CHECK(second.steps() == 6);
  };
  check(AdamW{});
  check(Adafactor{.beta1 = 0.9});
  check(Sgd{.momentum = 0.9});
}

TEST_CASE("a user's own policy is an optimizer like the others") {
  STATIC_REQUIRE(OptimizerPolicy<SignDescent>);
  STATIC_REQUIRE_FALSE(OptimizerPolicy<int>);
  Pair model;
  model.pull_to_one();
  const float before = model.bias.value.data()[0];
  Optimizer optimizer(SignDescent{}, model.list());
  optimizer.step({.rate_factor = 0.5});
  CHECK(model.bias.value.data()[0] == before + 0.05f);
}

TEST_CASE("values outside their range are refused with the sentence and the values") {
  Pair model;
  CHECK(message_of<ValueError>([&] { (void)AdamW{.beta1 = 1}.on(model.list()); }) ==
        "[adamw] beta1 must be at least 0 and less than 1; given adamw(learning_rate 0.001, beta1 1, beta2 "
        "0.999, "
        "epsilon 1e-08, weight_decay 0.01)");
  CHECK_THROWS_AS(AdamW{.learning_rate = std::nan("")}.on(model.list()), ValueError);
  CHECK_THROWS_AS(Sgd{.nesterov = true}.on(model.list()), ValueError);
  CHECK_THROWS_AS(Adafactor{.clip_threshold = 0}.on(model.list()), ValueError);
  model.bias.name = "layer.matrix";
  CHECK(message_of<ValueError>([&] { (void)Sgd{}.on(model.list()); }) ==
        "[sgd] two parameters are called layer.matrix");
}
