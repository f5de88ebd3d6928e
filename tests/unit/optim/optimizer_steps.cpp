// Ten steps of each optimizer against plain loops in double, written down here a second time.
#include <cmath>
#include <functional>
#include <vector>

#include "catch.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"

using namespace retort;

namespace {

constexpr int steps = 10;
using Values = std::vector<double>;

double start(Index i) {
  return std::sin(0.7 * static_cast<double>(i) + 0.3);
}
double slope(Index i, int step) {
  return 0.5 * std::cos(1.3 * static_cast<double>(i) + 0.9 * step) + 0.01 * step;
}

// The weights after ten steps with the gradients `slope`, scaled by 0.5 and with a falling rate.
template <Backend B, class Policy>
Values run(const Policy& policy, const Shape& shape, bool decay = true) {
  using T = typename B::Scalar;
  Parameter<B> w("w", shape);
  w.decay = decay;
  for (Index i = 0; i < w.value.size(); ++i) w.value.data()[i] = static_cast<T>(start(i));
  auto optimizer = policy.on(ParameterList<B>{&w});
  for (int s = 0; s < steps; ++s) {
    (void)w.open_grad();
    for (Index i = 0; i < w.value.size(); ++i) w.grad.data()[i] = static_cast<T>(2 * slope(i, s));
    optimizer.step({.rate_factor = 1 - 0.05 * s, .gradient_scale = 0.5});
  }
  CHECK(optimizer.steps() == steps);
  const auto host = w.value.to_host();
  return {host.begin(), host.end()};
}

// The same by `update(weights, gradients, rate factor, step from 1)`.
Values reference(Index count, const std::function<void(Values&, const Values&, double, int)>& update) {
  Values w, g(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) w.push_back(start(i));
  for (int s = 0; s < steps; ++s) {
    for (Index i = 0; i < count; ++i) g[static_cast<std::size_t>(i)] = slope(i, s);
    update(w, g, 1 - 0.05 * s, s + 1);
  }
  return w;
}

void check_equal(const Values& given, const Values& expected, double tolerance) {
  REQUIRE(given.size() == expected.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    INFO("element " << i);
    CHECK(given[i] == Approx(expected[i]).epsilon(0).margin(tolerance));
  }
}

template <class Policy>
void check_both(const Policy& policy, const Shape& shape, const Values& expected, bool decay = true) {
  check_equal(run<Cpu<double>>(policy, shape, decay), expected, 1e-13);
  check_equal(run<Cpu<float>>(policy, shape, decay), expected, 2e-6);
}

Values adamw_reference(const AdamW& p, Index count, double decay) {
  Values m(static_cast<std::size_t>(count)), v = m;
  return reference(count, [&](Values& w, const Values& g, double factor, int t) {
    const double rate = p.learning_rate * factor;
    for (std::size_t i = 0; i < w.size(); ++i) {
      w[i] -= rate * decay * w[i];
      m[i] = p.beta1 * m[i] + (1 - p.beta1) * g[i];
      v[i] = p.beta2 * v[i] + (1 - p.beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(p.beta1, t)), v_hat = v[i] / (1 - std::pow(p.beta2, t));
      w[i] -= rate * m_hat / (std::sqrt(v_hat) + p.epsilon);
    }
  });
}

Values sgd_reference(const Sgd& p, Index count) {
  Values b(static_cast<std::size_t>(count));
  return reference(count, [&](Values& w, const Values& g, double factor, int) {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double d = g[i] + p.weight_decay * w[i];
      b[i] = p.momentum * b[i] + d;
      w[i] -= p.learning_rate * factor * (p.nesterov ? d + p.momentum * b[i] : b[i]);
    }
  });
}

double rms(const Values& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum / static_cast<double>(x.size()));
}

// matrices x rows x columns; rows = 0: not a matrix, `columns` elements.
Values adafactor_reference(const Adafactor& p, std::size_t matrices, std::size_t rows, std::size_t columns) {
  const std::size_t count = rows == 0 ? columns : matrices * rows * columns;
  Values row(matrices * rows), column(matrices * columns), whole(count), first(count);
  return reference(static_cast<Index>(count), [&](Values& w, const Values& g, double factor, int t) {
    const double beta2 = 1 - std::pow(t, -p.decay_rate);
    Values u(count);
    if (rows == 0) {
      for (std::size_t i = 0; i < count; ++i) {
        whole[i] = beta2 * whole[i] + (1 - beta2) * (g[i] * g[i] + p.epsilon1);
        u[i] = g[i] / std::sqrt(whole[i]);
      }
    } else {
      for (auto& r : row) r *= beta2;
      for (auto& c : column) c *= beta2;
      for (std::size_t i = 0; i < count; ++i) {
        const double square = (1 - beta2) * (g[i] * g[i] + p.epsilon1);
        row[i / columns] += square / static_cast<double>(columns);
        column[i / (rows * columns) * columns + i % columns] += square / static_cast<double>(rows);
      }
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t m = i / (rows * columns);
        double mean = 0;
        for (std::size_t r = 0; r < rows; ++r) mean += row[m * rows + r] / static_cast<double>(rows);
        u[i] = g[i] / std::sqrt(row[i / columns] * column[m * columns + i % columns] / mean);
      }
    }
    double rate = (p.relative_step ? std::min(p.learning_rate, 1 / std::sqrt(t)) : p.learning_rate) * factor;
    if (p.scale_parameter) rate *= std::max(p.epsilon2, rms(w));
    const double shrink = std::max(1.0, rms(u) / p.clip_threshold);
    for (std::size_t i = 0; i < count; ++i) {
      double change = rate * u[i] / shrink;
      if (p.beta1 > 0) change = first[i] = p.beta1 * first[i] + (1 - p.beta1) * change;
      w[i] -= rate * p.weight_decay * w[i] + change;
    }
  });
}

}  // namespace

TEST_CASE("AdamW: ten steps equal the formula") {
  const AdamW policy{
      .learning_rate = 0.02, .beta1 = 0.8, .beta2 = 0.97, .epsilon = 1e-6, .weight_decay = 0.1};
  for (const Index count : {1, 7, 17, 300})
    check_both(policy, {count}, adamw_reference(policy, count, policy.weight_decay));
}

TEST_CASE("AdamW: a parameter that asks for no decay gets none") {
  const AdamW policy{.learning_rate = 0.02, .weight_decay = 0.5};
  check_both(policy, {17}, adamw_reference(policy, 17, 0), false);
}

TEST_CASE("AdamW: the first step has the size of the rate, whatever the gradient's") {
  for (const double g : {1e-4, 1.0, 1e4}) {
    Parameter<Cpu<double>> w("w", {1});
    w.value.data()[0] = 3;
    auto optimizer =
        AdamW{.learning_rate = 0.25, .epsilon = 0, .weight_decay = 0}.on(ParameterList<Cpu<double>>{&w});
    (void)w.open_grad();
    w.grad.data()[0] = g;
    optimizer.step();
    CHECK(w.value.item() == Approx(2.75).epsilon(1e-14));
  }
}

TEST_CASE("Sgd: ten steps equal the formula") {
  for (const Sgd policy :
       {Sgd{.learning_rate = 0.1}, Sgd{.learning_rate = 0.1, .weight_decay = 0.05},
        Sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.05},
        Sgd{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.05, .nesterov = true}})
    for (const Index count : {1, 7, 17, 300}) check_both(policy, {count}, sgd_reference(policy, count));
}

TEST_CASE("Adafactor: ten steps equal the formula, for vectors, matrices and stacks of matrices") {
  const Adafactor plain{.learning_rate = 0.05};
  for (const Adafactor policy :
       {plain, Adafactor{.learning_rate = 0.3, .relative_step = true},
        Adafactor{.learning_rate = 0.05, .beta1 = 0.9, .weight_decay = 0.1},
        Adafactor{
            .learning_rate = 0.02, .decay_rate = 0.5, .clip_threshold = 0.3, .scale_parameter = false}}) {
    check_both(policy, {1}, adafactor_reference(policy, 1, 0, 1));
    check_both(policy, {17}, adafactor_reference(policy, 1, 0, 17));
    check_both(policy, {1, 5}, adafactor_reference(policy, 1, 1, 5));
    check_both(policy, {7, 1}, adafactor_reference(policy, 1, 7, 1));
    check_both(policy, {40, 150}, adafactor_reference(policy, 1, 40, 150));
    check_both(policy, {3, 7, 17}, adafactor_reference(policy, 3, 7, 17));
    check_both(policy, {2, 2, 5, 3}, adafactor_reference(policy, 4, 5, 3));
  }
}

TEST_CASE("Adafactor: a gradient of rank one is normalised to its signs") {
  // g = a b': row and column means describe g^2 exactly, so u = sign(g); rms(u) = 1 clips nothing.
  Parameter<Cpu<double>> w("w", {2, 3});
  w.value = Tensor<double, CpuDevice>::full({2, 3}, 2.0);
  auto optimizer = Adafactor{.learning_rate = 0.1}.on(ParameterList<Cpu<double>>{&w});
  (void)w.open_grad();
  w.grad = Tensor<double, CpuDevice>::from({2, 3}, {1, -10, 0.1, -300, 3000, -30});
  optimizer.step();
  const Values expected{1.8, 2.2, 1.8, 2.2, 1.8, 2.2};  // rate 0.1 x rms(w) 2
  check_equal(w.value.to_host(), expected, 1e-12);
}

TEST_CASE("Adafactor: a gradient of zeros changes nothing, and the scale of a small weight is epsilon2") {
  Parameter<Cpu<float>> w("w", {2, 3}), b("b", {3});
  for (auto* p : {&w, &b}) p->value = Tensor<float, CpuDevice>::zeros(p->shape());
  auto optimizer = Adafactor{.learning_rate = 0.5f, .epsilon2 = 1e-3}.on(ParameterList<Cpu<float>>{&w, &b});
  for (auto* p : {&w, &b}) (void)p->open_grad(), p->grad = Tensor<float, CpuDevice>::zeros(p->shape());
  optimizer.step();
  for (const float x : w.value.to_host()) CHECK(x == 0);
  for (auto* p : {&w, &b}) (void)p->open_grad(), p->grad = Tensor<float, CpuDevice>::full(p->shape(), 4);
  optimizer.step();
  for (const float x : w.value.to_host()) CHECK(x == Approx(-0.5e-3).epsilon(1e-5));
  for (const float x : b.value.to_host()) CHECK(x == Approx(-0.5e-3).epsilon(1e-5));
}
