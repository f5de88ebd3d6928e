#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "retort/core/bf16.hpp"
#include "retort/kernels/cuda/fast_math.cuh"
#include "retort/kernels/cuda/launch.cuh"

/// The instructions that tensor-core kernels are made of (sm_80 and later), each behind a function: mma,
/// ldmatrix, cp.async. Under RETORT_HOST_EXECUTOR the same functions do by warp exchanges what the PTX manual
/// says of them.
///
/// Fragments of m16n8k16, lane = 4 g + t: a[0..3] hold rows (g, g+8, g, g+8) and columns 2t, 2t+1 (+8 in the
/// last two); b[0..1] rows 2t, 2t+1 (+8) of column g; c[0..3] row g columns 2t, 2t+1, then row g+8.

namespace retort::cuda {

inline constexpr unsigned whole_warp = 0xffffffffu;

/// The number in a word's lower half, and in its upper.
RETORT_HD inline float low_bf16(std::uint32_t word) {
  return std::bit_cast<float>(word << 16);
}
RETORT_HD inline float high_bf16(std::uint32_t word) {
  return std::bit_cast<float>(word & 0xffff0000u);
}

/// Sixteen bytes, moved at once.
struct alignas(16) Chunk {
  std::uint32_t word[4];
};

#if defined(RETORT_HOST_EXECUTOR)

/// Where something lies in the block's shared memory, in bytes.
using SharedAddress = std::uintptr_t;

inline SharedAddress shared_address(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p);
}

namespace detail {

/// Calls use(table), table[i] being lane i's `mine`.
template <class T, class Use>
void exchange(const T& mine, Use&& use) {
  const T* table[32];
  const auto of_lane_0 = __shfl_sync(whole_warp, reinterpret_cast<unsigned long long>(&table[0]), 0);
  auto** const shared = reinterpret_cast<const T**>(of_lane_0);
  shared[threadIdx.x % 32] = &mine;
  __syncwarp(whole_warp);
  use(const_cast<const T* const*>(shared));
  __syncwarp(whole_warp);
}

inline void ldmatrix(std::uint32_t (&r)[4], SharedAddress row, bool transposed) {
  const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  exchange(row, [&](const SharedAddress* const* rows) {
    for (unsigned i = 0; i < 4; ++i) {
      std::uint16_t pair[2];
      for (unsigned e = 0; e < 2; ++e) {
        const unsigned at_row = transposed ? 2 * t + e : g, at_column = transposed ? g : 2 * t + e;
        std::memcpy(&pair[e], reinterpret_cast<const char*>(*rows[8 * i + at_row]) + 2 * at_column, 2);
      }
      r[i] = static_cast<std::uint32_t>(pair[0]) | static_cast<std::uint32_t>(pair[1]) << 16;
    }
  });
}

}  // namespace detail

inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  struct Operands {
    std::uint32_t a[4], b[2];
  };
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  detail::exchange(mine, [&](const Operands* const* lanes) {
    for (unsigned e = 0; e < 4; ++e) {
      const unsigned lower = e / 2, column = 2 * t + e % 2;
      for (unsigned k = 0; k < 16; ++k) {
        const unsigned pair = k % 8 / 2, upper = k / 8;
        const std::uint32_t left = lanes[4 * g + pair]->a[lower + 2 * upper];
        const std::uint32_t right = lanes[4 * column + pair]->b[upper];
        c[e] += k % 2 == 0 ? low_bf16(left) * low_bf16(right) : high_bf16(left) * high_bf16(right);
      }
    }
  });
}

inline void ldmatrix_x4(std::uint32_t (&r)[4], SharedAddress row) {
  detail::ldmatrix(r, row, false);
}
inline void ldmatrix_x4_transposed(std::uint32_t (&r)[4], SharedAddress row) {
  detail::ldmatrix(r, row, true);
}

inline void cp_async_16(SharedAddress to, const void* from, bool present) {
  if (present) {
    std::memcpy(reinterpret_cast<void*>(to), from, 16);
  } else {
    std::memset(reinterpret_cast<void*>(to), 0, 16);
  }
}
inline void cp_async_4(SharedAddress to, const void* from, bool present) {
  if (present) {
    std::memcpy(reinterpret_cast<void*>(to), from, 4);
  } else {
    std::memset(reinterpret_cast<void*>(to), 0, 4);
  }
}
inline void cp_async_commit() {}
template <int Pending>
void cp_async_wait() {}

inline std::uint32_t pack_bf16(float low, float high) {
  return static_cast<std::uint32_t>(bf16(low).bits) | static_cast<std::uint32_t>(bf16(high).bits) << 16;
}

#else

/// Where something lies in the block's shared memory, in bytes.
using SharedAddress = std::uint32_t;

__device__ inline SharedAddress shared_address(const void* p) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(p));
}

/// c += a b over a 16 x 8 tile and 16 products, by a whole warp.
__device__ inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 x 8 matrices: lane i names row i % 8 of matrix i / 8 (16 bytes); r[m] receives row g, columns 2t,
/// 2t + 1 of matrix m.
__device__ inline void ldmatrix_x4(std::uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
/// The same with each matrix transposed: r[m] receives rows 2t, 2t + 1 of column g.
__device__ inline void ldmatrix_x4_transposed(std::uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

/// Starts a copy of 16 bytes to shared memory, or of zeros where nothing is `present` (`from` is not read
/// then).
__device__ inline void cp_async_16(SharedAddress to, const void* from, bool present) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n"
               :
               : "r"(to), "l"(__cvta_generic_to_global(from)), "r"(present ? 16 : 0)
               : "memory");
}
/// The same for 4 bytes.
__device__ inline void cp_async_4(SharedAddress to, const void* from, bool present) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n"
               :
               : "r"(to), "l"(__cvta_generic_to_global(from)), "r"(present ? 4 : 0)
               : "memory");
}
/// Closes a group of the copies started since the last.
__device__ inline void cp_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits until at most `Pending` of this thread's groups are under way.
template <int Pending>
__device__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

/// Two numbers as bf16 in one word, `low` in the lower half.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

#endif

}  // namespace retort::cuda
