#pragma once

#include "catch.hpp"
#include "numbers.hpp"
#include "retort/core/bf16.hpp"
#include "retort/kernels/cuda/runtime.hpp"
#include "retort/tensor/tensor.hpp"
#include "tiny_models.hpp"

/// Tests of the CUDA device against the CPU in double. They are linked twice: with the library retort::cuda,
/// for a GPU, and with the same kernel text compiled for the host executor.
namespace retort::test {

/// Leaves a test case where there is no GPU (and no executor in its place).
#define RETORT_NEED_DEVICE() \
  if (!cuda::why_unavailable().empty()) RETORT_SKIP(cuda::why_unavailable())

/// How far a result in T may be from the CPU's in double, relative to the largest value: 1e-5 in float, 2e-2
/// in bf16.
template <class T>
constexpr double device_tolerance = sizeof(T) == 4 ? 1e-5 : 2e-2;

/// Numbers on the device, and the same numbers (rounded to T) in double.
template <class T>
struct Uploaded {
  Tensor<T, CudaDevice> device;
  std::vector<double> host;

  Uploaded(const Shape& shape, const std::vector<double>& values) : host(values) {
    std::vector<T> rounded;
    for (auto& x : host) {
      rounded.push_back(static_cast<T>(static_cast<float>(x)));
      x = static_cast<double>(static_cast<float>(rounded.back()));
    }
    device = Tensor<T, CudaDevice>::from(shape, rounded);
  }
  Uploaded(const Shape& shape, std::uint64_t stream, double deviation = 1)
      : Uploaded(shape, normals<double>(shape.size(), stream, deviation)) {}
  operator const T*() const { return device.data(); }
};

/// A tensor's numbers in double.
template <class T>
std::vector<double> numbers(const Tensor<T, CudaDevice>& t) {
  std::vector<double> out;
  for (const auto x : t.to_host()) {
    if constexpr (std::same_as<T, bf16>)
      out.push_back(static_cast<double>(static_cast<float>(x)));
    else
      out.push_back(static_cast<double>(x));
  }
  return out;
}

/// The same weights in another backend's model, by way of double.
template <class From, class To>
void copy_weights(From& from, To& to) {
  using T = typename To::Backend::Scalar;
  auto source = parameters(from);
  auto target = parameters(to);
  REQUIRE(source.size() == target.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    std::vector<T> values;
    for (const auto x : source[i]->value.to_host()) values.push_back(static_cast<T>(static_cast<float>(x)));
    target[i]->value = TensorOf<typename To::Backend>::from(source[i]->shape(), values);
  }
}

/// Rounds a model's weights to T, so that a model in T has the very same.
template <class T, class Model>
void round_weights(Model& model) {
  for (auto* p : parameters(model))
    for (auto& x : p->value.span())
      x = static_cast<double>(static_cast<float>(static_cast<T>(static_cast<float>(x))));
}

}  // namespace retort::test
