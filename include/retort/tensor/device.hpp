#pragma once

#include <concepts>

#include "retort/core/scalar.hpp"

namespace retort {

/// Where a tensor lives. Kernels are overloaded on these tags: a device is what fulfils the kernel contract
/// (kernels/contract.hpp). The CPU is the one shipped now.
struct CpuDevice {
  static constexpr const char* name = "cpu";
};

template <class D>
concept Device = requires {
  { D::name } -> std::convertible_to<const char*>;
};

/// A backend is a device and the number type that models compute in on it. Models, tapes and optimizers are
/// templates over a backend: `Cpu<float>` to train, `Cpu<double>` to check gradients.
template <Real T>
struct Cpu {
  using Scalar = T;
  using Device = CpuDevice;
};

template <class B>
concept Backend = requires {
  requires Real<typename B::Scalar>;
}
&&Device<typename B::Device>;

}  // namespace retort
