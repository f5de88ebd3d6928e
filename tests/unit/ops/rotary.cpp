// Rotary positions against complex numbers, and their gradient.
#include "retort/ops/rotary.hpp"

#include <complex>

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/nn/rotary.hpp"
#include "retort/ops/arithmetic.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;

namespace {

constexpr RotaryLayout layouts[] = {RotaryLayout::interleaved, RotaryLayout::halves};

/// Positions that are not the row numbers, some of them repeated.
std::vector<std::int32_t> some_positions(Index rows) {
  return indices(rows, 50, 3);
}

template <Backend B = Double>
RotaryTables<B> tables(Index rows, Index width, RotaryLayout layout) {
  return rotary_tables<B>(nn::RotaryConfig{.width = width}.frequencies(width), some_positions(rows), layout);
}

/// Every pair of columns as a complex number times exp(i angle).
std::vector<double> rotated(const TensorOf<Double>& x, Index heads, Index head_width, Index width,
                            RotaryLayout layout) {
  auto y = x.to_host();
  const Index rows = x.shape()[0], columns = x.shape()[1];
  const auto positions = some_positions(rows);
  for (Index r = 0; r < rows; ++r)
    for (Index h = 0; h < heads; ++h)
      for (Index i = 0; i < width / 2; ++i) {
        const Index first = layout == RotaryLayout::halves ? i : 2 * i;
        const Index second = layout == RotaryLayout::halves ? i + width / 2 : 2 * i + 1;
        const auto at = static_cast<std::size_t>(r * columns + h * head_width);
        auto &a = y[at + static_cast<std::size_t>(first)], &b = y[at + static_cast<std::size_t>(second)];
        const double angle =
            positions[static_cast<std::size_t>(r)] * std::pow(10000.0, -2.0 * double(i) / double(width));
        const auto z = std::complex(a, b) * std::polar(1.0, angle);
        a = z.real(), b = z.imag();
      }
  return y;
}

}  // namespace

TEST_CASE("a rotation multiplies pairs of columns by a complex number and leaves the rest") {
  for (const auto layout : layouts)
    for (const Index rows : {1, 7, 17})
      for (const Index width : {2, 6, 14, 34})
        for (const Index head_width : {width, width + 3}) {
          const auto x = normal_tensor({rows, 2 * head_width + 5}, 1);
          const auto t = tables(rows, width, layout);
          CAPTURE(rows, width, head_width, layout);
          CHECK(difference(rotary(V(x), t, 2, head_width).value().to_host(),
                           rotated(x, 2, head_width, width, layout)) <= 1e-14);
          const auto single = tables<Float>(rows, width, layout);
          const auto y =
              rotary(Variable<Float>(TensorOf<Float>::from(x.shape(), normals<float>(x.size(), 1))), single,
                     2, head_width);
          CHECK(difference(y.value().to_host(), rotated(x, 2, head_width, width, layout)) <= 1e-6);
        }
}

TEST_CASE("gradients of a rotation, also added to another gradient") {
  for (const auto layout : layouts)
    for (const Index n : {1, 7, 17})
      for (const Index head_width : {2 * n, 2 * n + 3}) {
        const auto x = normal_tensor({n, 2 * head_width + 1}, 1);
        const auto t = tables(n, 2 * n, layout);
        const auto check = [&](auto f) {
          const auto result = check_gradients(f, {x});
          INFO(result.worst);
          CHECK(result.relative_error <= 1e-6);
        };
        check([&](Context<Double>&, std::vector<V>& v) { return rotary(v[0], t, 2, head_width); });
        check([&](Context<Double>&, std::vector<V>& v) {
          return add(multiply(v[0], v[0]), rotary(v[0], t, 2, head_width));
        });
      }
}

TEST_CASE("a rotation gives the same bits on any number of threads") {
  const auto x = normal_tensor<Float>({300, 200}, 1);
  const auto t = tables<Float>(300, 32, RotaryLayout::halves);
  CHECK(same_on_any_thread_count([&] { return rotary(Variable<Float>(x), t, 6, 32).value().to_host(); }));
}

TEST_CASE("a product of rotated rows depends on the distance of their positions alone") {
  const auto frequencies = nn::RotaryConfig{}.frequencies(16);
  const auto q = normal_tensor({1, 16}, 1), k = normal_tensor({1, 16}, 2);
  for (const auto layout : layouts) {
    const auto dot = [&](std::int32_t at_q, std::int32_t at_k) {
      const auto turn = [&](const TensorOf<Double>& x, std::int32_t at) {
        return rotary(V(x), rotary_tables<Double>(frequencies, std::vector{at}, layout), 1, 16);
      };
      return sum(multiply(turn(q, at_q), turn(k, at_k))).value().item();
    };
    CHECK(dot(3, 10) == Approx(dot(1003, 1010)).epsilon(1e-10));
    CHECK(dot(3, 10) != Approx(dot(3, 11)).epsilon(1e-3));
  }
}

TEST_CASE("frequencies are scaled as the papers and LLaMA 3.1 have it") {
  const nn::RotaryConfig plain{.theta = 100};
  const auto base = plain.frequencies(8);
  CHECK(difference(base, std::vector{1.0, 0.31622776601683794, 0.1, 0.031622776601683794}) <= 1e-15);
  auto linear = plain;
  linear.scaling = nn::RotaryScaling::linear;
  linear.factor = 4;
  for (std::size_t i = 0; i < 4; ++i) CHECK(linear.frequencies(8)[i] == Approx(base[i] / 4));
  // 64 positions: waves of 2 pi, 20, 63, 199 tokens fit 10.2, 3.22, 1.02, 0.32 times.
  auto llama3 = plain;
  llama3.scaling = nn::RotaryScaling::llama3;
  llama3.factor = 8;
  llama3.original_positions = 64;
  const auto scaled = llama3.frequencies(8);
  CHECK(scaled[0] == Approx(base[0]));
  const double waves = 64 * base[1] / (2 * M_PI), kept = (waves - 1) / 3;
  CHECK(scaled[1] == Approx(base[1] * (kept + (1 - kept) / 8)));
  CHECK(scaled[2] == Approx(base[2] * ((64 * base[2] / (2 * M_PI) - 1) / 3 * 7 / 8 + 1.0 / 8)));
  CHECK(scaled[3] == Approx(base[3] / 8));
}

TEST_CASE("sizes of a rotation that do not fit are errors") {
  const V x(normal_tensor({3, 10}, 1));
  const auto refusal = [&](const RotaryTables<Double>& t, Index heads, Index head_width) {
    return message_of<ShapeError>([&] { (void)rotary(x, t, heads, head_width); });
  };
  CHECK(refusal(tables(3, 4, RotaryLayout::halves), 3, 4) ==
        "[rotary] 3 heads of 4 columns of a variable of shape (3, 10)");
  CHECK(refusal(tables(4, 4, RotaryLayout::halves), 2, 4) ==
        "[rotary] tables of shape (4, 2), expected (3, at most 2)");
  CHECK(refusal(tables(3, 6, RotaryLayout::halves), 2, 5) ==
        "[rotary] tables of shape (3, 3), expected (3, at most 2)");
  CHECK(message_of<ValueError>([] { (void)nn::RotaryConfig{.width = 3}.frequencies(8); }) ==
        "[rotary] 3 columns of a head of 8: expected an even number of at most 8");
  CHECK(message_of<ValueError>([] { (void)nn::RotaryConfig{}.frequencies(7); }) ==
        "[rotary] 7 columns of a head of 7: expected an even number of at most 7");
  CHECK_THROWS_AS((nn::RotaryConfig{.theta = 0}.frequencies(8)), ValueError);
}
