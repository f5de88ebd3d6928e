#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "retort/core/scalar.hpp"
#include "retort/kernels/cpu/eigen.hpp"

/// Loads and stores of the first few elements of a SIMD register: the tails of rows. Masked instructions
/// where the machine has them (no byte outside the row is touched), element by element elsewhere.
namespace retort::kernels::cpu {

#if defined(__AVX512F__)

// Eigen's registers are 512 bits wide.
inline __m512 load_partial(const float* p, Index count, __m512 rest) {
  return _mm512_mask_loadu_ps(rest, static_cast<__mmask16>((1u << count) - 1), p);
}
inline __m512d load_partial(const double* p, Index count, __m512d rest) {
  return _mm512_mask_loadu_pd(rest, static_cast<__mmask8>((1u << count) - 1), p);
}
inline void store_partial(float* p, Index count, __m512 v) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), v);
}
inline void store_partial(double* p, Index count, __m512d v) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << count) - 1), v);
}

#elif defined(__AVX2__)

inline __m256i first_lanes(Index count, float) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline __m256i first_lanes(Index count, double) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
inline __m256 load_partial(const float* p, Index count, __m256 rest) {
  const __m256i mask = first_lanes(count, 0.0f);
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}
inline __m256d load_partial(const double* p, Index count, __m256d rest) {
  const __m256i mask = first_lanes(count, 0.0);
  return _mm256_blendv_pd(rest, _mm256_maskload_pd(p, mask), _mm256_castsi256_pd(mask));
}
inline void store_partial(float* p, Index count, __m256 v) {
  _mm256_maskstore_ps(p, first_lanes(count, 0.0f), v);
}
inline void store_partial(double* p, Index count, __m256d v) {
  _mm256_maskstore_pd(p, first_lanes(count, 0.0), v);
}

#else

template <Real T, class Packet>
Packet load_partial(const T* p, Index count, Packet rest) {
  std::array<T, Eigen::internal::unpacket_traits<Packet>::size> lanes;
  Eigen::internal::pstoreu(lanes.data(), rest);
  for (Index i = 0; i < count; ++i) lanes[static_cast<std::size_t>(i)] = p[i];
  return Eigen::internal::ploadu<Packet>(lanes.data());
}
template <Real T, class Packet>
void store_partial(T* p, Index count, Packet v) {
  std::array<T, Eigen::internal::unpacket_traits<Packet>::size> lanes;
  Eigen::internal::pstoreu(lanes.data(), v);
  for (Index i = 0; i < count; ++i) p[i] = lanes[static_cast<std::size_t>(i)];
}

#endif

}  // namespace retort::kernels::cpu
