// The feed-forward network whose GELU the matrix products do, against its definition.
#include "retort/ops/gelu_mlp.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/ops/arithmetic.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

using D = Cpu<double>;

/// Sizes of a network and how often it is applied, each time with the same weights.
struct Case {
  Index rows, in, hidden, out;
  int times = 1;
};

/// The output y and the gradients of sum(y * y) to the input and all parameters.
template <class B, class Network>
std::vector<Numbers> results(const Case& c, Network network) {
  const Shape shapes[] = {{c.rows, c.in}, {c.hidden, c.in}, {c.hidden}, {c.out, c.hidden}, {c.out}};
  Tape<B> tape;
  std::vector<Variable<B>> leaves;
  for (const Shape& shape : shapes) {
    std::vector<typename B::Scalar> values;
    for (const double v : normals<double>(shape.size(), leaves.size(), leaves.empty() ? 1 : 0.2))
      values.push_back(
          static_cast<typename B::Scalar>(static_cast<float>(static_cast<bf16>(static_cast<float>(v)))));
    leaves.push_back(tape.leaf(TensorOf<B>::from(shape, values)));
  }
  Variable<B> y = leaves[0];
  for (int t = 0; t < c.times; ++t) y = network(y, leaves[1], leaves[2], leaves[3], leaves[4]);
  std::vector<TensorOf<B>> tensors{y.value()};
  tape.backward(sum(multiply(y, y)));
  for (const auto& leaf : leaves) tensors.push_back(tape.gradient(leaf));
  std::vector<Numbers> out;
  for (const auto& tensor : tensors) {
    Numbers numbers;
    for (const auto v : tensor.to_host()) numbers.push_back(static_cast<double>(v));
    out.push_back(numbers);
  }
  return out;
}

template <class B>
Variable<B> definition(const Variable<B>& x, const Variable<B>& up, const Variable<B>& up_bias,
                       const Variable<B>& down, const Variable<B>& down_bias) {
  return linear(activate(GeluTanh{}, linear(x, up, &up_bias)), down, &down_bias);
}

}  // namespace

TEST_CASE("a network whose GELU is done by its products is its definition's in double, with all gradients") {
  RETORT_NEED_DEVICE();
  using B = Cuda<bf16>;
  const auto fused = [](const auto&... v) { return gelu_mlp<B>(v...); };
  for (const Case& c : {Case{1, 24, 64, 40}, {7, 64, 256, 64}, {130, 32, 128, 32}, {33, 64, 128, 64, 2}}) {
    REQUIRE(gelu_mlp_is_fused<B>(c.in, c.hidden, c.out));
    const auto want = results<D>(c, definition<D>), got = results<B>(c, fused), again = results<B>(c, fused);
    for (std::size_t i = 0; i < want.size(); ++i) {
      INFO(c.rows << " rows, " << c.in << " -> " << c.hidden << " -> " << c.out << ", " << c.times
                  << " times: result " << i);
      CHECK(error_of(got[i], want[i]) <= c.times * device_tolerance<bf16>);
      CHECK((got[i] == again[i]));
    }
  }
}

TEST_CASE("a network with GELU that no product can take over is its definition") {
  RETORT_NEED_DEVICE();
  using B = Cuda<bf16>;
  for (const Case& c : {Case{5, 7, 9, 3}, {0, 24, 64, 40}}) {
    const auto got = results<B>(c, [](const auto&... v) { return gelu_mlp<B>(v...); });
    CHECK((got == results<B>(c, definition<B>)));
  }
  CHECK_THROWS_AS(gelu_mlp<B>(Variable<B>(TensorOf<B>({2, 8})), Variable<B>(TensorOf<B>({16, 24})),
                              Variable<B>(TensorOf<B>({16})), Variable<B>(TensorOf<B>({8, 16})),
                              Variable<B>(TensorOf<B>({8}))),
                  ShapeError);
}
