#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "retort/core/scalar.hpp"

/// Element types of tensors in files, and their conversion to the types a program computes with.
namespace retort {

/// What a tensor of a file can be read into and written from.
template <class T>
concept FileScalar = Real<T> || std::same_as<T, std::int32_t> || std::same_as<T, std::int64_t>;

/// The safetensors name of a type.
template <FileScalar T>
constexpr std::string_view dtype_name() {
  if constexpr (std::same_as<T, float>) return "F32";
  if constexpr (std::same_as<T, double>) return "F64";
  if constexpr (std::same_as<T, bf16>) return "BF16";
  if constexpr (std::same_as<T, std::int32_t>) return "I32";
  if constexpr (std::same_as<T, std::int64_t>) return "I64";
}

/// Bytes of an element of the named type; 0 for a name that is none.
constexpr std::size_t dtype_bytes(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL" || dtype == "F8_E4M3" || dtype == "F8_E5M2") return 1;
  return 0;
}

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
struct Half {
  std::uint16_t bits;
  explicit operator float() const {
    const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16, rest = bits & 0x7fffu;
    if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // inf, NaN
    // Shifted into a float's place the exponent is too small by 127 - 15; the product also mends subnormals.
    const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  /// The nearest half, of two equally near the even one; beyond 65,519 infinity, NaN stays NaN.
  static Half nearest(float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x), rest = bits & 0x7fffffffu;
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
    const auto with_sign = [sign](std::uint32_t low) { return Half{static_cast<std::uint16_t>(sign | low)}; };
    if (rest > 0x7f800000u) return with_sign(0x7e00u);
    if (rest >= 0x477ff000u) return with_sign(0x7c00u);
    if (rest < 0x38800000u) {  // subnormal: the sum's last bit is worth 2^-24, as the half's is
      const float sum = std::bit_cast<float>(rest) + 0.5f;
      return with_sign(std::bit_cast<std::uint32_t>(sum) - std::bit_cast<std::uint32_t>(0.5f));
    }
    return with_sign((rest - (112u << 23) + 0xfffu + (rest >> 13 & 1u)) >> 13);
  }
};

/// A float from which rounding to 11 or fewer bits gives what rounding `x` itself would: rounded to odd.
inline float odd_float(double x) {
  const auto f = static_cast<float>(x);
  if (static_cast<double>(f) == x || !(std::abs(f) <= 3.4028235e38f)) return f;
  const auto bits = std::bit_cast<std::uint32_t>(f);
  const bool away = std::abs(static_cast<double>(f)) > std::abs(x);
  return std::bit_cast<float>((away ? bits - 1 : bits) | 1u);
}
inline float odd_float(float x) {
  return x;
}

/// Whether elements of the named type can be read as `T`: floating-point ones as float, double or bf16,
/// integers as anything.
template <FileScalar T>
constexpr bool can_convert(std::string_view dtype) {
  if (dtype == "I64" || dtype == "I32") return true;
  return Real<T> && (dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16");
}

namespace detail {

/// The nearest bf16 to a number of a file, rounded once.
template <class From>
bf16 nearest_bf16(From x) {
  if constexpr (std::is_class_v<From>)
    return bf16(static_cast<float>(x));
  else
    return bf16(odd_float(static_cast<double>(x)));
}

/// The index of the first element that `T` cannot hold, or -1: an I64 beyond an int32. Rounding is no such.
template <class From, class T>
std::ptrdiff_t convert_elements(const std::byte* from, std::span<T> to) {
  if constexpr (std::same_as<From, T>) {
    if (!to.empty()) std::memcpy(to.data(), from, to.size_bytes());
  } else {
    for (std::size_t i = 0; i < to.size(); ++i) {
      From x;
      std::memcpy(&x, from + i * sizeof x, sizeof x);
      if constexpr (std::integral<From> && std::integral<T>)
        if (static_cast<From>(static_cast<T>(x)) != x) return static_cast<std::ptrdiff_t>(i);
      if constexpr (std::same_as<T, bf16>)
        to[i] = nearest_bf16(x);
      else if constexpr (std::is_class_v<From>)
        to[i] = static_cast<T>(static_cast<float>(x));
      else
        to[i] = static_cast<T>(x);
    }
  }
  return -1;
}

}  // namespace detail

/// Converts `to.size()` elements of the named type, which `can_convert` has allowed, at any alignment.
/// Returns the index of the first element that does not fit `T`, or -1.
template <FileScalar T>
std::ptrdiff_t convert(std::string_view dtype, const std::byte* from, std::span<T> to) {
  if (dtype == "I64") return detail::convert_elements<std::int64_t>(from, to);
  if (dtype == "I32") return detail::convert_elements<std::int32_t>(from, to);
  if constexpr (Real<T>) {
    if (dtype == "F64") return detail::convert_elements<double>(from, to);
    if (dtype == "F32") return detail::convert_elements<float>(from, to);
    if (dtype == "F16") return detail::convert_elements<Half>(from, to);
    if (dtype == "BF16") return detail::convert_elements<bf16>(from, to);
  }
  return 0;
}

/// Whether elements can be written as the named type by `convert_to`.
constexpr bool can_write(std::string_view dtype) {
  return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

/// Converts to the named type, which `can_write` has allowed, each element to the nearest (ties to even).
template <Real T>
void convert_to(std::string_view dtype, std::span<const T> from, std::byte* to) {
  using Wide = Statistic<T>;  // what holds every T and is rounded to what is narrower
  const auto all = [&]<class To>(To, auto f) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      const To value = f(static_cast<Wide>(from[i]));
      std::memcpy(to + i * sizeof value, &value, sizeof value);
    }
  };
  if (dtype == "F64") all(double{}, [](Wide x) { return static_cast<double>(x); });
  if (dtype == "F32") all(float{}, [](Wide x) { return static_cast<float>(x); });
  if (dtype == "F16") all(Half{}, [](Wide x) { return Half::nearest(odd_float(x)); });
  if (dtype == "BF16") all(bf16{}, [](Wide x) { return bf16(odd_float(x)); });
}

}  // namespace retort
