#pragma once

#include "retort/kernels/cuda/mma.cuh"

/// What the forward and the backward kernels of flash attention share: their arguments, and tiles of rows in
/// shared memory.
namespace retort::cuda {

/// An attention of bf16 heads over ragged segments; see AttentionShape for what the sizes mean. All pointers
/// are of the device, all but the scratch and lse 16-byte aligned, all strides multiples of 8 elements.
struct FlashArguments {
  const bf16* q = nullptr;     ///< (query rows, q_stride)
  const bf16* k = nullptr;     ///< (key rows, k_stride)
  const bf16* v = nullptr;     ///< (key rows, v_stride)
  const bf16* bias = nullptr;  ///< (heads, 2 bias_reach - 1) or nullptr
  bf16* o = nullptr;           ///< (query rows, o_stride): written forward, read backward
  float* lse = nullptr;        ///< (query rows, heads), natural log sum exp: written forward, read backward

  const bf16* d_o = nullptr;  ///< strides as o; this and the following are used by the backward pass only
  bf16* dq = nullptr;         ///< strides as q
  bf16* dk = nullptr;         ///< strides as k
  bf16* dv = nullptr;         ///< strides as v
  float* delta = nullptr;     ///< scratch (query rows, heads)

  const std::int32_t* q_begin = nullptr;  ///< the segments, `sequences` each
  const std::int32_t* q_length = nullptr;
  const std::int32_t* k_begin = nullptr;
  const std::int32_t* k_length = nullptr;
  int sequences = 0;
  int longest_queries = 0;
  int longest_keys = 0;

  int heads = 1;
  int kv_heads = 1;
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0, o_stride = 0;
  float scale = 1;
  bool causal = false;
  int bias_reach = 0;
};

inline constexpr int flash_warps = 4, flash_threads = 32 * flash_warps;  ///< of a block

inline constexpr float log2_of_e = 1.4426950408889634f, ln_of_2 = 0.6931471805599453f;

/// Tiles of `Width` bf16 columns in shared memory, in chunks of 16 bytes. A row's chunks are permuted by the
/// row, so that 8 rows of one column of chunks lie in different banks.
template <int Width>
struct FlashTile {
  static constexpr int chunks = Width / 8;

  static constexpr int bytes(int rows) { return rows * Width * 2; }

  __device__ static unsigned offset(int row, int chunk) {
    const int turn = chunks >= 8 ? row & 7 : (row >> 1) & 3;
    return static_cast<unsigned>((row * chunks + (chunk ^ turn)) * 16);
  }

  /// Starts copying Rows rows; those from `present` on become zeros.
  template <int Rows, int Threads>
  __device__ static void load(SharedAddress tile, const bf16* from, std::int64_t stride, int present) {
    static_assert(Rows * chunks % Threads == 0, "all threads copy the same number of chunks");
    RETORT_UNROLL
    for (int i = 0; i < Rows * chunks / Threads; ++i) {
      const int c = i * Threads + static_cast<int>(threadIdx.x), row = c / chunks, chunk = c % chunks;
      const bool is_there = row < present;
      cp_async_16(tile + offset(row, chunk), from + (is_there ? row : 0) * stride + chunk * 8, is_there);
    }
  }

  /// The left operand (16 rows from `row`) x (16 columns from 16 kk).
  __device__ static void left(std::uint32_t (&a)[4], SharedAddress tile, int row, int kk) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    ldmatrix_x4(a, tile + offset(row + lane % 16, 2 * kk + lane / 16));
  }

  /// The right operand of left x tile': rows [row, row + 16) are its columns. b[0..1] are the first 8,
  /// b[2..3] the others.
  __device__ static void right_transposed(std::uint32_t (&b)[4], SharedAddress tile, int row, int kk) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    ldmatrix_x4(b, tile + offset(row + lane % 8 + lane / 16 * 8, 2 * kk + lane / 8 % 2));
  }

  /// The right operand of left x tile: rows [row, row + 16) and columns 16 nn + [0, 16). b[0..1] are the
  /// first 8 columns, b[2..3] the others.
  __device__ static void right(std::uint32_t (&b)[4], SharedAddress tile, int row, int nn) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    ldmatrix_x4_transposed(b, tile + offset(row + lane % 16, 2 * nn + lane / 16));
  }

  /// Puts an accumulator's 16 rows, times a factor for the upper and the lower 8, into the tile.
  __device__ static void put(unsigned char* tile, int row, const float (&c)[Width / 8][4], float upper,
                             float lower) {
    const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
    RETORT_UNROLL
    for (int n = 0; n < Width / 8; ++n) {
      *reinterpret_cast<std::uint32_t*>(tile + offset(row + g, n) + 4 * t) =
          pack_bf16(c[n][0] * upper, c[n][1] * upper);
      *reinterpret_cast<std::uint32_t*>(tile + offset(row + g + 8, n) + 4 * t) =
          pack_bf16(c[n][2] * lower, c[n][3] * lower);
    }
  }

  /// A warp writes Rows of the tile's rows from `row` on to `to`, those below `present`.
  template <int Rows>
  __device__ static void store(const unsigned char* tile, int row, bf16* to, std::int64_t stride,
                               int present) {
    RETORT_UNROLL
    for (int i = 0; i < Rows * chunks / 32; ++i) {
      const int c = i * 32 + static_cast<int>(threadIdx.x % 32), r = row + c / chunks, chunk = c % chunks;
      if (r < present)
        *reinterpret_cast<Chunk*>(to + r * stride + chunk * 8) =
            *reinterpret_cast<const Chunk*>(tile + offset(r, chunk));
    }
  }
};

}  // namespace retort::cuda
