#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "retort/core/host_device.hpp"

/// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
/// SC 2011). A number is a pure function of (key, counter), so batch size, threads and device do not change
/// it.
namespace retort {

/// Four random words from a 128-bit counter and a 64-bit key.
RETORT_HD inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                     std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// Names one stream of random numbers. Derive keys for independent purposes with `fork`; the same key always
/// gives the same numbers.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;

  /// A key for the sub-purpose `purpose` (a step, a layer, a sequence number); different purposes are
  /// independent.
  [[nodiscard]] RETORT_HD RandomKey fork(std::uint64_t purpose) const {
    const auto w = philox(words(purpose, stream), words(seed ^ 0x5bf03635f0b16a7dull));
    return {(std::uint64_t{w[0]} << 32) | w[1], (std::uint64_t{w[2]} << 32) | w[3]};
  }

  /// Block `index` of this stream: four independent 32-bit words.
  [[nodiscard]] RETORT_HD std::array<std::uint32_t, 4> block(std::uint64_t index) const {
    return philox(words(index, stream), words(seed));
  }

  /// Number `index` of this stream, uniform in (0, 1): never 0, never 1, 23 random bits in float, 32 in
  /// double.
  template <class T = double>
  [[nodiscard]] RETORT_HD T uniform(std::uint64_t index) const {
    return to_uniform<T>(block(index >> 2)[index & 3]);
  }

  /// Number `index` of this stream, standard normal (Box-Muller).
  [[nodiscard]] RETORT_HD double normal(std::uint64_t index) const {
    const auto w = block(index >> 1);
    const bool second = (index & 1) != 0;
    const double radius = std::sqrt(-2 * std::log(to_uniform<double>(w[second ? 2 : 0])));
    const double turn = to_uniform<double>(w[second ? 3 : 1]);
#if defined(__CUDA_ARCH__)
    return radius * cospi(2 * turn);  // cos would keep a table for huge angles in local memory
#else
    return radius * std::cos(6.283185307179586 * turn);
#endif
  }

  friend bool operator==(const RandomKey&, const RandomKey&) = default;

  /// The middle of one of 2^23 (float) or 2^32 (double) equal intervals of (0, 1).
  template <class T>
  [[nodiscard]] RETORT_HD static T to_uniform(std::uint32_t word) {
    if constexpr (sizeof(T) == 4)
      return (static_cast<T>(word >> 9) + T(0.5)) * T(1.0 / 8388608.0);
    else
      return (static_cast<T>(word) + T(0.5)) * T(1.0 / 4294967296.0);
  }

 private:
  RETORT_HD static std::array<std::uint32_t, 2> words(std::uint64_t a) {
    return {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32)};
  }
  RETORT_HD static std::array<std::uint32_t, 4> words(std::uint64_t a, std::uint64_t b) {
    return {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32), static_cast<std::uint32_t>(b),
            static_cast<std::uint32_t>(b >> 32)};
  }
};

}  // namespace retort
