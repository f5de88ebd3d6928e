#pragma once

#include <math.h>  // isnan and the like at global scope, as in CUDA

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <memory>  // libstdc++'s own __noinline__ in it has to come before the macro below
#include <source_location>
#include <type_traits>

#include "multiprocessor.hpp"

/// CUDA's words, in the meaning of its programming guide.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)

// --- barriers and the primitives of a warp
// ------------------------------------------------------------------------

namespace retort::executor {

/// What can be shuffled.
template <class T>
concept Shuffled = std::is_trivially_copyable_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);

template <Shuffled T>
T shuffle(Primitive primitive, unsigned mask, T value, unsigned source, std::source_location where) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<T>(
      static_cast<Bits>(here().exchange(primitive, mask, std::bit_cast<Bits>(value), source, where)));
}

/// The width of a shuffle's segments less one: the bits of a lane's place in its segment.
inline unsigned segment_bits(int width) {
  const auto bits = static_cast<unsigned>(width) - 1;
  if (bits > 31 || (bits & (bits + 1)) != 0) here().fail("the width of a shuffle is a power of two up to 32");
  return bits;
}

}  // namespace retort::executor

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  retort::executor::here().synchronize(where);
}

inline void __syncwarp(unsigned mask = 0xffffffff,
                       std::source_location where = std::source_location::current()) {
  retort::executor::here().exchange(retort::executor::Primitive::syncwarp, mask, 0, 0, where);
}

template <retort::executor::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location where = std::source_location::current()) {
  const unsigned bits = retort::executor::segment_bits(width), lane = retort::executor::here().lane();
  const unsigned from = (lane & ~bits) | (static_cast<unsigned>(source) & bits);
  return retort::executor::shuffle(retort::executor::Primitive::shfl, mask, value, from, where);
}

template <retort::executor::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location where = std::source_location::current()) {
  const unsigned bits = retort::executor::segment_bits(width), lane = retort::executor::here().lane();
  const unsigned from = delta > (lane & bits) ? lane : lane - delta;
  return retort::executor::shuffle(retort::executor::Primitive::shfl_up, mask, value, from, where);
}

template <retort::executor::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location where = std::source_location::current()) {
  const unsigned bits = retort::executor::segment_bits(width), lane = retort::executor::here().lane();
  const unsigned from = delta > bits - (lane & bits) ? lane : lane + delta;
  return retort::executor::shuffle(retort::executor::Primitive::shfl_down, mask, value, from, where);
}

template <retort::executor::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  std::source_location where = std::source_location::current()) {
  const unsigned bits = retort::executor::segment_bits(width), lane = retort::executor::here().lane();
  const unsigned other = lane ^ static_cast<unsigned>(lanes);
  const unsigned from = other > (lane | bits) ? lane : other;
  return retort::executor::shuffle(retort::executor::Primitive::shfl_xor, mask, value, from, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location where = std::source_location::current()) {
  return static_cast<unsigned>(
      retort::executor::here().exchange(retort::executor::Primitive::ballot, mask, predicate != 0, 0, where));
}

inline int __any_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
  return retort::executor::here().exchange(retort::executor::Primitive::any, mask, predicate != 0, 0,
                                           where) != 0;
}

inline int __all_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
  return retort::executor::here().exchange(retort::executor::Primitive::all, mask, predicate != 0, 0,
                                           where) == mask;
}

inline void __threadfence() {}

// --- atomics: each gives the value before
// ---------------------------------------------------------------------------

namespace retort::executor {

template <class T, class... Ts>
concept OneOf = (std::same_as<T, Ts> || ...);

using ull = unsigned long long;

}  // namespace retort::executor

template <retort::executor::OneOf<int, unsigned, retort::executor::ull, float, double> T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if constexpr (std::same_as<T, int>)  // wraps around
    *address = static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value));
  else
    *address = old + value;
  return old;
}

template <retort::executor::OneOf<int, unsigned, retort::executor::ull> T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}

template <retort::executor::OneOf<int, unsigned, long long, retort::executor::ull> T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (old < value) *address = value;
  return old;
}

template <retort::executor::OneOf<int, unsigned, long long, retort::executor::ull> T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (value < old) *address = value;
  return old;
}

template <retort::executor::OneOf<int, unsigned, retort::executor::ull, float> T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}

template <retort::executor::OneOf<int, unsigned, retort::executor::ull> T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = old | value;
  return old;
}

// --- bits and arithmetic
// --------------------------------------------------------------------------------------------

template <class T>
T __ldg(const T* address) {
  return *address;
}

inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}

namespace retort::executor {

inline float reciprocal_square_root(float x) {
  return 1 / std::sqrt(x);
}

}  // namespace retort::executor

// Macros, because the C library has functions of these names or may come to have them.
#define __expf(x) std::exp(static_cast<float>(x))
#define __logf(x) std::log(static_cast<float>(x))
#define rsqrtf(x) ::retort::executor::reciprocal_square_root(x)
