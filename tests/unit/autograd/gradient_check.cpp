#include "retort/autograd/gradient_check.hpp"

#include "catch.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/linear.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using C = Context<Double>;

namespace {

/// x * x with a gradient that is computed by `slope(x)` instead of 2 x.
template <class Slope>
V square(const V& x, Slope slope) {
  auto y = x.value().clone();
  for (double& v : y.span()) v *= v;
  return record(
      "square", y,
      [x, slope](const TensorOf<Double>& dy) {
        auto dx = dy.clone();
        for (Index i = 0; i < dx.size(); ++i) dx.data()[i] *= slope(x.data()[i]);
        pass_gradient(x, dx);
      },
      x);
}

double error_of(auto f) {
  return check_gradients(f, {normal_tensor({3, 4}, 1)}).relative_error;
}

}  // namespace

TEST_CASE("check_gradients accepts a right gradient and names the place of a wrong one") {
  CHECK(error_of([](C&, auto& v) { return square(v[0], [](double x) { return 2 * x; }); }) <= 1e-8);
  const auto wrong =
      check_gradients([](C&, auto& v) { return square(v[0], [](double x) { return 2.001 * x; }); },
                      {normal_tensor({3, 4}, 1)});
  CHECK(wrong.relative_error > 4e-4);
  CHECK(wrong.relative_error < 6e-4);
  CHECK(wrong.worst.find("argument 0, element ") == 0);
  CHECK(wrong.worst.find("of shape (3, 4): gradient ") != std::string::npos);
}

TEST_CASE(
    "check_gradients finds a missing, transposed, summed or NaN gradient, and one of a single element") {
  CHECK(error_of([](C&, auto& v) { return square(V(v[0].value()), [](double x) { return 2 * x; }); }) > 0.5);
  CHECK(error_of([](C&, auto& v) {
          const V x = v[0];
          return record(
              "permuted", x.value().clone(),
              [x](const TensorOf<Double>& dy) {
                auto dx = dy.clone();
                std::reverse(dx.data(), dx.data() + dx.size());
                pass_gradient(x, dx);
              },
              x);
        }) > 0.1);
  CHECK(error_of([](C&, auto& v) {
          const V x = v[0];
          return record(
              "averaged", x.value().clone(),
              [x](const TensorOf<Double>& dy) {
                double mean = 0;
                for (const double g : dy.span()) mean += g / static_cast<double>(dy.size());
                pass_gradient(x, TensorOf<Double>::full(dy.shape(), mean));
              },
              x);
        }) > 0.1);
  CHECK(error_of([](C&, auto& v) { return square(v[0], [](double) { return std::nan(""); }); }) > 1);
  const double one = normal_tensor({3, 4}, 1).data()[7];
  CHECK(error_of([&](C&, auto& v) { return square(v[0], [&](double x) { return x == one ? 0 : 2 * x; }); }) >
        0.01);
}

TEST_CASE("check_gradients finds a gradient that is written over another's contribution") {
  const auto overwrites = [](C&, auto& v) {
    const V x = v[0];
    const V y = record(
        "overwriting", x.value().clone(),
        [x](const TensorOf<Double>& dy) {
          if (auto dx = gradient_target(x)) std::copy_n(dy.data(), dy.size(), dx.data);  // ignores dx.write
        },
        x);
    return add(y, scale(x, 3));
  };
  CHECK(error_of(overwrites) > 0.5);
}

TEST_CASE("check_gradients leaves its inputs as they were") {
  const auto x = normal_tensor({5}, 1);
  const auto before = values(x);
  CHECK(check_gradients([](C&, auto& v) { return multiply(v[0], v[0]); }, {x}).relative_error < 1e-8);
  CHECK(values(x) == before);
}

TEST_CASE("check_parameter_gradients tells right from wrong and names the parameter") {
  auto w = normal_parameter("layer.w", {4, 3}, 1), b = normal_parameter("layer.b", {4}, 2);
  const V x(normal_tensor({5, 3}, 3));
  const auto right = [&](C& c) {
    const V bias = c.use(b);
    return linear(x, c.use(w), &bias);
  };
  CHECK(check_parameter_gradients<Double>(right, {&w, &b}, 100).relative_error <= 1e-8);
  const auto wrong = [&](C& c) {
    const V bias(b.value);  // forgot its gradient
    return linear(x, c.use(w), &bias);
  };
  const auto result = check_parameter_gradients<Double>(wrong, {&w, &b}, 100);
  CHECK(result.relative_error > 0.5);
  CHECK(result.worst.find("layer.b, element ") == 0);
}
