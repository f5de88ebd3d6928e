#pragma once

#include <bit>
#include <cstdint>

#include "retort/core/host_device.hpp"

namespace retort {

/// The upper half of a float (sign, 8 bits of exponent, 7 of fraction): what models are stored and multiplied
/// in on a GPU. It converts to float exactly and from float by rounding to the nearest, ties to even; all
/// arithmetic is done in float.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  RETORT_HD explicit bf16(float x) : bits(rounded(x)) {}
  RETORT_HD explicit bf16(double x) : bf16(static_cast<float>(x)) {}
  RETORT_HD explicit bf16(int x) : bf16(static_cast<float>(x)) {}

  RETORT_HD operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

 private:
  RETORT_HD static std::uint16_t rounded(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    std::uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;\n" : "=h"(bits) : "f"(x));
    return bits;
#else
    const auto word = std::bit_cast<std::uint32_t>(x);
    if (x != x) return static_cast<std::uint16_t>((word >> 16) | 0x40u);  // a NaN stays one
    return static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
#endif
  }
};

}  // namespace retort
