#include "catch.hpp"
#include "custom_divergence/hellinger.hpp"
#include "numbers.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda/policies.cuh"
#include "retort/tensor/tensor.hpp"

RETORT_CUDA_DIVERGENCE(Hellinger)  // as a user's .cu file does, see examples/custom_divergence

using namespace retort;
using namespace retort::test;

TEST_CASE("a user's own divergence named for the device is the CPU's") {
  constexpr Index rows = 3;
  const Index student = GENERATE(5, 24, 131), teacher = GENERATE(8, 96);
  const kernels::RowLossShape shape{
      .rows = rows, .student_vocabulary = student, .teacher_vocabulary = teacher, .temperature = 1.5};
  const std::vector<double> weight{1, 0, 0.5};
  auto s = normals<double>(rows * student, 1, 2), t = normals<double>(rows * teacher, 2, 2);
  for (auto* logits : {&s, &t})
    for (auto& x : *logits) x = static_cast<double>(static_cast<float>(x));
  const auto on_device = [](Index columns, const std::vector<double>& values) {
    return Tensor<float, CudaDevice>::from({rows, columns}, std::vector<float>(values.begin(), values.end()));
  };
  auto device_s = on_device(student, s), device_t = on_device(teacher, t),
       device_weight = on_device(1, weight);
  Tensor<double, CudaDevice> device_loss({rows});
  kernels::row_loss<float>(CudaDevice{}, Hellinger{}, shape, device_s.data(), device_t.data(),
                           std::as_const(device_weight).data(), device_loss.data());

  std::vector<double> loss(rows);
  kernels::row_loss(CpuDevice{}, Hellinger{}, shape, s.data(), t.data(), weight.data(), loss.data());
  const auto got_loss = device_loss.to_host();
  const auto got = device_s.to_host();
  for (std::size_t r = 0; r < loss.size(); ++r) CHECK(std::abs(got_loss[r] - loss[r]) <= 1e-6);
  for (std::size_t i = 0; i < s.size(); ++i) CHECK(std::abs(static_cast<double>(got[i]) - s[i]) <= 1e-6);
}
