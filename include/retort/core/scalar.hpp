#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "retort/core/bf16.hpp"

namespace retort {

/// Sizes and indices of tensors.
using Index = std::int64_t;

/// The element types a model can compute in; bf16 on a GPU alone.
template <class T>
concept Real = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, bf16>;

/// What arithmetic with a number type is done in, and what statistics of its rows, weights of losses and an
/// optimizer's state are kept in: float for bf16, else the type itself.
template <class T>
using Statistic = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

/// The element types a tensor can hold: numbers to compute with, and token ids or indices.
template <class T>
concept Element = Real<T> || std::same_as<T, std::int32_t>;

/// Name of an element type, for messages and file headers.
template <Element T>
constexpr const char* scalar_name() {
  if constexpr (std::same_as<T, float>) return "float32";
  if constexpr (std::same_as<T, double>) return "float64";
  if constexpr (std::same_as<T, bf16>) return "bfloat16";
  if constexpr (std::same_as<T, std::int32_t>) return "int32";
}

/// Whether a kernel replaces what its output buffer holds, or adds to it (a gradient's second contribution).
enum class Write : bool { overwrite = false, accumulate = true };

}  // namespace retort
