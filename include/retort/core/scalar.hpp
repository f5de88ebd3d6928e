#pragma once

#include <concepts>
#include <cstdint>

namespace retort {

/// Sizes and indices of tensors.
using Index = std::int64_t;

/// The element types a model can compute in.
template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double>;

/// The element types a tensor can hold: numbers to compute with, and token ids or indices.
template <class T>
concept Element = Real<T> || std::same_as<T, std::int32_t>;

/// Name of an element type, for messages and file headers.
template <Element T>
constexpr const char* scalar_name() {
  if constexpr (std::same_as<T, float>) return "float32";
  if constexpr (std::same_as<T, double>) return "float64";
  if constexpr (std::same_as<T, std::int32_t>) return "int32";
}

/// Whether a kernel replaces what its output buffer holds, or adds to it (a gradient's second contribution).
enum class Write : bool { overwrite = false, accumulate = true };

}  // namespace retort
