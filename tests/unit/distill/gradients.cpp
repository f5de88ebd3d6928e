// Gradients of head_divergence to hidden states and heads against central differences, in double.
#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/ops/arithmetic.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// `rows` hidden states and heads to so many tokens (student), and two more (teacher).
template <class Div>
void check(const Div& divergence, Index rows, Index width, Index vocabulary) {
  const auto random = [](const Shape& shape, std::uint64_t stream) {
    return TensorOf<D>::from(shape, normals<double>(shape.size(), stream));
  };
  Parameter<D> h("hidden", {rows, width}), w("head.weight", {vocabulary, width}),
      b("head.bias", {vocabulary}), wt("teacher", {vocabulary + 2, 4});
  h.value = random(h.shape(), 1);
  w.value = random(w.shape(), 2);
  b.value = random(b.shape(), 3);
  wt.value = random(wt.shape(), 4);
  wt.trainable = false;
  const TensorOf<D> teacher = random({rows, 4}, 5), weights = random({rows}, 6);
  const auto loss = [&](Context<D>& context) {
    const auto value =
        head_divergence(context, divergence, Head<D>{.weight = &w, .bias = &b, .scale = 0.7}, context.use(h),
                        Head<D>{.weight = &wt}, teacher, weights, {.temperature = 1.3, .chunk_rows = 3})
            .value;
    return scale(value, 2.0);  // the op computes its gradient for an upstream gradient of 1 first
  };
  const GradientCheck result = check_parameter_gradients<D>(loss, {&h, &w, &b}, 200, 1e-6);
  INFO(summary(divergence) << ", " << rows << " x " << vocabulary << ": " << result.worst);
  CHECK(result.relative_error <= 1e-6);
}

}  // namespace

TEST_CASE("gradients of the fused head and divergence, for every divergence") {
  each_divergence([](const auto& divergence) {
    for (const Index n : {1, 7, 17}) check(divergence, n, n, n);
    check(divergence, 7, 5, 13);
  });
}
