#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "retort/core/bf16.hpp"
#include "retort/core/scalar.hpp"
#include "retort/kernels/cuda/launch.cuh"

/// What kernels share: loads of 16 bytes, sums over warps and blocks in a fixed order, sizes of launches.
namespace retort::cuda {

inline constexpr unsigned all_lanes = 0xffffffffu;
inline constexpr int warp_size = 32;

/// 16 (or 8) bytes of numbers, loaded and stored at once.
template <class T, int bytes = 16>
struct Vector {
  static_assert(bytes == 8 || bytes == 16);
  using Word = std::conditional_t<bytes == 16, uint4, uint2>;
  static constexpr int size = bytes / static_cast<int>(sizeof(T));
  T at[size];

  __device__ static Vector load(const T* p) {
    return std::bit_cast<Vector>(*reinterpret_cast<const Word*>(p));
  }
  __device__ void store(T* p) const { *reinterpret_cast<Word*>(p) = std::bit_cast<Word>(*this); }
};

/// 16 bytes of numbers as they lie in memory, in four registers, for kernels that hold many: those of a
/// Vector's elements become one each.
template <class T>
struct Packed {
  static_assert(std::same_as<T, float> || std::same_as<T, bf16>);
  static constexpr int size = Vector<T>::size;
  std::uint32_t words[4];

  __device__ static Packed load(const T* p) {
    return std::bit_cast<Packed>(*reinterpret_cast<const uint4*>(p));
  }
  __device__ void store(T* p) const { *reinterpret_cast<uint4*>(p) = std::bit_cast<uint4>(*this); }
  /// Element i, a constant.
  __device__ float operator[](int i) const {
    if constexpr (std::same_as<T, float>)
      return std::bit_cast<float>(words[i]);
    else
      return std::bit_cast<float>(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
  }
};

/// Whether rows that begin at these places can be read by 16 bytes.
template <class... Pointers>
[[nodiscard]] bool aligned(const Pointers*... p) {
  return ((reinterpret_cast<std::uintptr_t>(p) % 16 == 0) && ...);
}

/// Blocks that keep the device busy, at most one for each `per_block` of `count` things.
[[nodiscard]] inline unsigned blocks_for(Index count, Index per_block) {
  const Index wanted = (count + per_block - 1) / per_block;
  return static_cast<unsigned>(std::clamp<Index>(wanted, 1, Index{multiprocessors()} * 16));
}

struct Sum {
  template <class N>
  __device__ N operator()(N a, N b) const {
    return a + b;
  }
};
struct Highest {
  template <class N>
  __device__ N operator()(N a, N b) const {
    return a > b || a != a ? a : b;  // NaN wins
  }
};

/// The combination of all lanes' values, in all lanes, always in the same order.
template <class N, class Op>
__device__ N warp_reduce(N value, Op op) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2)
    value = op(value, __shfl_xor_sync(all_lanes, value, offset));
  return value;
}

/// The combination of all threads' values, in all threads; blocks of up to 1,024 threads, a multiple of 32.
/// `place` is shared memory for 32 values, free to use again after the next barrier.
template <class N, class Op>
__device__ N block_reduce(N value, Op op, N* place) {
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size,
                 warps = blockDim.x / warp_size;
  value = warp_reduce(value, op);
  __syncthreads();
  if (lane == 0) place[warp] = value;
  __syncthreads();
  N total = place[0];
  for (unsigned w = 1; w < warps; ++w) total = op(total, place[w]);
  return total;
}

}  // namespace retort::cuda
