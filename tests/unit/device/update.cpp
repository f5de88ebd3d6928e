// Optimizer steps of the CUDA device. Weights and state are float: a model in bf16 is trained by weights in
// float.
#include <map>

#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/optim/adamw.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

constexpr Index sizes[] = {0, 1, 17, 130, 1000};
constexpr int steps = 3;

/// step(device, number of the step, gradient, arrays...) several times on the CPU and in every order on the
/// device; `start` are weights and state. Weights and state end the same.
template <class Step>
void check_steps(const std::vector<Numbers>& start, Step step) {
  std::vector<Numbers> want;
  for (const auto& x : start) want.push_back(Uploaded<float>(x).host);
  std::vector<Uploaded<float>> gradients;
  const auto count = static_cast<Index>(start[0].size());
  for (int s = 0; s < steps; ++s) {
    gradients.push_back(Uploaded<float>::normal(count, static_cast<std::uint64_t>(s + 20), 0.3, 1));
    std::vector<double*> at;
    for (auto& x : want) at.push_back(x.data());
    step(CpuDevice{}, s, static_cast<const double*>(gradients.back().host.data()), at);
  }
  const auto got = in_every_order([&] {
    std::vector<Uploaded<float>> arrays;
    for (const auto& x : start) arrays.emplace_back(x, 1);
    std::vector<float*> at;
    for (auto& x : arrays) at.push_back(x);
    for (int s = 0; s < steps; ++s)
      step(CudaDevice{}, s, static_cast<const float*>(std::as_const(gradients[static_cast<std::size_t>(s)])),
           at);
    std::vector<Numbers> out;
    for (const auto& x : arrays) out.push_back(x.now());
    return out;
  });
  for (std::size_t i = 0; i < want.size(); ++i) {
    INFO("array " << i << " of " << want[i].size());
    CHECK(error_of(got[i], want[i]) <= 1e-5);
  }
}

Numbers zeros(Index n) {
  return Numbers(static_cast<std::size_t>(n));
}

kernels::AdamWStep adamw_step(int s) {
  return {.rate = 0.01,
          .beta1 = 0.9,
          .beta2 = 0.95,
          .epsilon = 1e-6,
          .weight_decay = 0.1,
          .correction1 = 1 - std::pow(0.9, s + 1),
          .correction2 = 1 - std::pow(0.95, s + 1),
          .gradient_scale = 0.7};
}

/// AdamW without its `update_mixed`: the optimizer converts gradients and weights.
struct ConvertedAdamW {
  static constexpr const char* name = "converted_adamw";
  AdamW adamw;

  [[nodiscard]] std::vector<StateTensor> state_of(const Shape& shape) const { return adamw.state_of(shape); }
  template <Backend B>
  void update(Parameter<B>& parameter, std::span<TensorOf<B>> state, const UpdateStep& step) const {
    adamw.update(parameter, state, step);
  }
  [[nodiscard]] constexpr const char* problem() const { return adamw.problem(); }
  template <class F>
  void each_field(F&& f) const {
    adamw.each_field(f);
  }
};

/// A matrix and a bias in bf16 after steps by given gradients: weights and the optimizer's state by name.
template <class Policy>
std::map<std::string, Numbers> steps_in_bf16(const Policy& policy) {
  using B = Cuda<bf16>;
  Parameter<B> matrix("matrix", {37, 19}), bias("bias", {1031});
  bias.decay = false;
  const ParameterList<B> list{&matrix, &bias};
  const auto random = [](const Shape& shape, std::uint64_t stream, double deviation) {
    std::vector<bf16> values;
    for (const double x : normals<double>(shape.size(), stream, deviation)) values.emplace_back(x);
    return TensorOf<B>::from(shape, values);
  };
  for (auto* p : list) p->value = random(p->shape(), 1, 1);
  Optimizer<Policy, B> optimizer(policy, list);
  for (int s = 0; s < steps; ++s) {
    for (auto* p : list) {
      (void)p->open_grad();
      p->grad = random(p->shape(), static_cast<std::uint64_t>(s + 2), 0.3);
    }
    optimizer.step({.rate_factor = 0.5 + s, .gradient_scale = 0.7});
  }
  std::map<std::string, Numbers> out;
  for (const auto* p : list) out[p->name] = numbers(p->value);
  optimizer.each_state([&](const std::string& name, const auto& t) { out[name] = numbers(t); });
  return out;
}

}  // namespace

TEST_CASE("steps of AdamW on the device are the CPU's") {
  RETORT_NEED_DEVICE();
  for (const Index n : sizes)
    check_steps({normals<double>(n, 1), zeros(n), zeros(n)},
                [n](auto device, int s, const auto* gradient, const auto& x) {
                  kernels::adamw(device, adamw_step(s), n, x[0], gradient, x[1], x[2]);
                });
}

// Both are one function's named operations, so they are the same bits, on a GPU too.
TEST_CASE("AdamW for weights in bf16 is the gradient widened, AdamW in float and the weights narrowed") {
  RETORT_NEED_DEVICE();
  struct Case {
    Index count, offset;  // of the arrays, in elements; 8 are 16 bytes or a multiple
  };
  for (const auto& [n, offset] : {Case{0, 0},
                                  {1, 0},
                                  {3, 8},
                                  {4, 0},
                                  {17, 8},
                                  {130, 0},
                                  {1000, 1},
                                  {1001, 4},
                                  {4099, 8},
                                  {4099, 3},
                                  {70001, 0}}) {
    INFO(n << " weights at " << offset);
    const auto weights = normals<double>(n, 1);
    const auto run = [&](bool mixed) {
      Uploaded<float> master(weights, offset), first(zeros(n), offset), second(zeros(n), offset),
          wide(zeros(n), offset);
      Uploaded<bf16> weight = Uploaded<bf16>::room(n, offset);
      for (int s = 0; s < steps; ++s) {
        const auto gradient = Uploaded<bf16>::normal(n, static_cast<std::uint64_t>(s + 20), 0.3, offset);
        const bf16* g = gradient;
        if (mixed) {
          kernels::adamw_mixed<bf16>(CudaDevice{}, adamw_step(s), n, master, g, first, second, weight);
        } else {
          kernels::convert<bf16, float>(CudaDevice{}, n, g, wide);
          kernels::adamw<float>(CudaDevice{}, adamw_step(s), n, master, wide, first, second);
          kernels::convert<float, bf16>(CudaDevice{}, n, master, weight);
        }
      }
      return std::vector<Numbers>{master.now(), first.now(), second.now(), weight.now()};
    };
    const auto want = run(false);
    const auto got = n > 10000 ? run(true) : in_every_order([&] { return run(true); });
    for (std::size_t i = 0; i < want.size(); ++i) {
      INFO("array " << i);
      CHECK((got[i] == want[i]));  // in parentheses: not all numbers are printed
    }
  }
}

TEST_CASE("an optimizer of a model in bf16 is the same with a policy's mixed update and without") {
  RETORT_NEED_DEVICE();
  STATIC_REQUIRE(MixedPolicy<AdamW, Cuda<bf16>>);
  STATIC_REQUIRE_FALSE(MixedPolicy<AdamW, Cuda<float>>);
  STATIC_REQUIRE_FALSE(MixedPolicy<ConvertedAdamW, Cuda<bf16>>);
  const AdamW policy{.learning_rate = 0.02, .weight_decay = 0.3};
  const auto got = steps_in_bf16(policy), want = steps_in_bf16(ConvertedAdamW{policy});
  CHECK((got == want));
  CHECK(got.size() == 8);  // weights, masters and two moments of each
  CHECK(got.contains("matrix.first_moment"));
  CHECK(got.contains("bias.master"));
}

TEST_CASE("steps of SGD on the device are the CPU's") {
  RETORT_NEED_DEVICE();
  for (const Index n : sizes)
    for (const bool nesterov : {false, true})
      check_steps({normals<double>(n, 1), zeros(n)}, [n, nesterov](auto device, int, const auto* gradient,
                                                                   const auto& x) {
        const kernels::SgdStep step{
            .rate = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = nesterov, .gradient_scale = 0.7};
        kernels::sgd(device, step, n, x[0], gradient, x[1]);
      });
}

TEST_CASE("steps of Adafactor on the device are the CPU's") {
  RETORT_NEED_DEVICE();
  struct Options {
    double beta1, clip_threshold, weight_decay;
    bool scale_parameter;
  };
  for (const auto& o : {Options{0, 1, 0, true}, Options{0.9, 0.5, 0.1, true}, Options{0, 100, 0.1, false}}) {
    const auto step = [&o](int s) {
      return kernels::AdafactorStep{.rate = 0.05,
                                    .beta1 = o.beta1,
                                    .beta2 = 1 - std::pow(s + 1, -0.8),
                                    .epsilon1 = 1e-12,
                                    .epsilon2 = 1e-3,
                                    .clip_threshold = o.clip_threshold,
                                    .weight_decay = o.weight_decay,
                                    .scale_parameter = o.scale_parameter,
                                    .gradient_scale = 0.7};
    };
    for (const Index n : sizes)
      check_steps({normals<double>(n, 1), zeros(n), zeros(n)}, [&](auto device, int s, const auto* gradient,
                                                                   const auto& x) {
        kernels::adafactor_whole(device, step(s), n, x[0], gradient, x[1], o.beta1 == 0 ? nullptr : x[2]);
      });
    for (const auto& [matrices, rows, columns] :
         {std::array<Index, 3>{0, 3, 4}, {1, 1, 1}, {1, 7, 17}, {3, 33, 5}, {2, 2, 300}, {1, 300, 3}}) {
      const Index count = matrices * rows * columns;
      check_steps(
          {normals<double>(count, 1), zeros(matrices * rows), zeros(matrices * columns), zeros(count)},
          [&, m = matrices, r = rows, c = columns](auto device, int s, const auto* gradient, const auto& x) {
            kernels::adafactor_factored(device, step(s), m, r, c, x[0], gradient, x[1], x[2],
                                        o.beta1 == 0 ? nullptr : x[3]);
          });
    }
  }
}
