#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

/// Element types of tensors in files, and their conversion to the types a program computes with.
namespace retort {

/// What a tensor of a file can be read into and written from.
template <class T>
concept FileScalar = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, std::int32_t> ||
    std::same_as<T, std::int64_t>;

/// The safetensors name of a type.
template <FileScalar T>
constexpr std::string_view dtype_name() {
  if constexpr (std::same_as<T, float>) return "F32";
  if constexpr (std::same_as<T, double>) return "F64";
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
};

/// bfloat16: the upper half of a float.
struct BFloat16 {
  std::uint16_t bits;
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

/// Whether elements of the named type can be read as `T`: floating-point ones as float or double, integers as
/// anything.
template <FileScalar T>
constexpr bool can_convert(std::string_view dtype) {
  if (dtype == "I64" || dtype == "I32") return true;
  return std::floating_point<T> && (dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16");
}

namespace detail {

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
      if constexpr (std::is_class_v<From>)
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
  if constexpr (std::floating_point<T>) {
    if (dtype == "F64") return detail::convert_elements<double>(from, to);
    if (dtype == "F32") return detail::convert_elements<float>(from, to);
    if (dtype == "F16") return detail::convert_elements<Half>(from, to);
    if (dtype == "BF16") return detail::convert_elements<BFloat16>(from, to);
  }
  return 0;
}

}  // namespace retort
