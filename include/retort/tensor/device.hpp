#pragma once

#include <concepts>

#include "retort/core/scalar.hpp"

namespace retort {

/// Where a tensor lives. Kernels are overloaded on these tags: a device is what fulfils the kernel contract
/// (kernels/contract.hpp).
struct CpuDevice {
  static constexpr const char* name = "cpu";
};

/// The first NVIDIA GPU that CUDA shows (CUDA_VISIBLE_DEVICES chooses another). Its kernels are in the
/// library retort::cuda, which a program that uses it links.
struct CudaDevice {
  static constexpr const char* name = "cuda";
};

/// The same GPU, with matrix products of float by its tensor cores: operands are rounded to TF32 (10 bits of
/// fraction instead of 23), sums are float. Everything else is `CudaDevice`'s.
struct CudaTf32Device : CudaDevice {
  static constexpr const char* name = "cuda, tf32";
};

template <class D>
concept Device = requires {
  { D::name } -> std::convertible_to<const char*>;
};

/// A backend is a device and the number type that models compute in on it. Models, tapes and optimizers are
/// templates over a backend: `Cpu<float>` to train, `Cpu<double>` to check gradients.
template <std::floating_point T>
struct Cpu {
  using Scalar = T;
  using Device = CpuDevice;
};

/// Models on an NVIDIA GPU: `Cuda<bf16>` to train, with weights kept in float besides by the optimizer, or
/// `Cuda<float>`, whose products are computed in full precision.
template <Real T>
struct Cuda {
  using Scalar = T;
  using Device = CudaDevice;
};

/// Models of float on an NVIDIA GPU whose products may be rounded to TF32: several times as fast, gradients
/// correct to about three digits.
struct CudaTf32 {
  using Scalar = float;
  using Device = CudaTf32Device;
};

template <class B>
concept Backend = requires {
  requires Real<typename B::Scalar>;
}
&&Device<typename B::Device>;

/// The number type of a backend's statistics and weights of losses, see `Statistic`.
template <Backend B>
using StatisticOf = Statistic<typename B::Scalar>;

namespace detail {
template <Backend B>
struct MasterOf {
  using type = B;
};
template <>
struct MasterOf<Cuda<bf16>> {
  using type = Cuda<float>;
};
}  // namespace detail

/// The backend that an optimizer keeps weights and state in: the model's own, or that of float for bf16, in
/// which most updates would be lost to rounding.
template <Backend B>
using Master = typename detail::MasterOf<B>::type;

}  // namespace retort
