// Optimizer steps of the CUDA device. Weights and state are float: a model in bf16 is trained by weights in
// float.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
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

}  // namespace

TEST_CASE("steps of AdamW on the device are the CPU's") {
  RETORT_NEED_DEVICE();
  for (const Index n : sizes)
    check_steps({normals<double>(n, 1), zeros(n), zeros(n)},
                [n](auto device, int s, const auto* gradient, const auto& x) {
                  const kernels::AdamWStep step{.rate = 0.01,
                                                .beta1 = 0.9,
                                                .beta2 = 0.95,
                                                .epsilon = 1e-6,
                                                .weight_decay = 0.1,
                                                .correction1 = 1 - std::pow(0.9, s + 1),
                                                .correction2 = 1 - std::pow(0.95, s + 1),
                                                .gradient_scale = 0.7};
                  kernels::adamw(device, step, n, x[0], gradient, x[1], x[2]);
                });
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
