#pragma once

#include <cmath>
#include <type_traits>

#include "retort/core/math.hpp"
#include "retort/kernels/cuda/launch.cuh"

/// The GPU's own approximations of functions, and the number type that policies compute with there.
namespace retort::cuda {

inline constexpr float log2_e = 1.44269504f;

#if defined(RETORT_HOST_EXECUTOR)

inline float fast_exp2(float x) {
  return std::exp2(x);
}

#else

/// 2^x to about 2 units in the last place; denormal results are 0.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

#endif

/// e^x, as wrong as x would be by a rounding of its own, about |x| 2^-24, and 2 units in the last place;
/// denormal results are 0.
__device__ inline float fast_exp(float x) {
  return fast_exp2(x * log2_e);
}

/// A float for policies (core/math.hpp) whose division (2 units in the last place, by divisors up to 2^126),
/// `exp` (as fast_exp) and `log` (2^-22 absolutely for arguments from 1/2 to 2, relatively elsewhere) cost
/// few instructions. For numbers that are going to be rounded to bf16: differences of its logarithms may be
/// off by 1e-6.
struct DeviceFloat {
  float value;

  DeviceFloat() = default;
  template <class U>
  requires std::is_arithmetic_v<U> __device__ DeviceFloat(U x) : value(static_cast<float>(x)) {}
  __device__ explicit operator float() const { return value; }

  // clang-format off
  __device__ friend DeviceFloat operator+(DeviceFloat a, DeviceFloat b) { return a.value + b.value; }
  __device__ friend DeviceFloat operator-(DeviceFloat a, DeviceFloat b) { return a.value - b.value; }
  __device__ friend DeviceFloat operator*(DeviceFloat a, DeviceFloat b) { return a.value * b.value; }
  __device__ friend DeviceFloat operator/(DeviceFloat a, DeviceFloat b) { return __fdividef(a.value, b.value); }
  __device__ friend DeviceFloat operator-(DeviceFloat a) { return -a.value; }
  __device__ DeviceFloat& operator+=(DeviceFloat b) { return *this = *this + b; }
  __device__ DeviceFloat& operator*=(DeviceFloat b) { return *this = *this * b; }

  __device__ friend DeviceFloat exp(DeviceFloat x) { return fast_exp(x.value); }
  __device__ friend DeviceFloat log(DeviceFloat x) { return __logf(x.value); }
  __device__ friend DeviceFloat log1p(DeviceFloat x) { return math::log1p(x.value); }
  __device__ friend DeviceFloat tanh(DeviceFloat x) { return math::tanh(x.value); }
  __device__ friend DeviceFloat erf(DeviceFloat x) { return math::erf(x.value); }
  __device__ friend DeviceFloat sqrt(DeviceFloat x) { return math::sqrt(x.value); }
  __device__ friend DeviceFloat abs(DeviceFloat x) { return math::abs(x.value); }
  __device__ friend DeviceFloat max(DeviceFloat a, DeviceFloat b) { return math::max(a.value, b.value); }
  __device__ friend DeviceFloat min(DeviceFloat a, DeviceFloat b) { return math::min(a.value, b.value); }
  __device__ friend bool less(DeviceFloat a, DeviceFloat b) { return a.value < b.value; }
  __device__ friend DeviceFloat select(bool condition, DeviceFloat yes, DeviceFloat no) {
    return condition ? yes.value : no.value;
  }
  // clang-format on
};

}  // namespace retort::cuda
