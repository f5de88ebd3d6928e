#pragma once

#include <algorithm>
#include <cstdint>

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

  /// The first chunk that this thread copies of the tile that begins at `from`; for load.
  template <int Threads>
  __device__ static const bf16* source(const bf16* from, std::int64_t stride) {
    const int thread = static_cast<int>(threadIdx.x);
    return from + thread / chunks * stride + thread % chunks * 8;
  }

  /// Starts copying Rows rows; those from `present` on become zeros. `source` moves on to the next Rows.
  template <int Rows, int Threads>
  __device__ static void load(SharedAddress tile, const bf16*& source, std::int64_t stride, int present) {
    constexpr int rows_at_once = Threads / chunks;
    static_assert(Threads % (8 * chunks) == 0 && Rows % rows_at_once == 0, "a thread's chunks turn alike");
    const int row = static_cast<int>(threadIdx.x) / chunks, chunk = static_cast<int>(threadIdx.x) % chunks;
    const SharedAddress to = tile + offset(row, chunk);
#pragma unroll
    for (int i = 0; i < Rows / rows_at_once; ++i) {
      cp_async_16(to + static_cast<unsigned>(bytes(i * rows_at_once)), source,
                  row < present - i * rows_at_once);
      source += rows_at_once * stride;
    }
  }

  /// offset(row + r, 2 pair + c) of an r that is a multiple of 8 and a c of 0 or 1, where `lane` is
  /// offset(row, c).
  __device__ static unsigned offset_from(unsigned lane, int r, int pair) {
    return (lane ^ static_cast<unsigned>(32 * pair)) + static_cast<unsigned>(bytes(r));
  }

  /// The left operand (16 rows from `row`) x (16 columns from 16 kk). This and the following take rows that
  /// are multiples of 8.
  __device__ static void left(std::uint32_t (&a)[4], SharedAddress tile, int row, int kk) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    ldmatrix_x4(a, tile + offset_from(offset(lane % 16, lane / 16), row, kk));
  }

  /// The right operand of left x tile': rows [row, row + 16) are its columns. b[0..1] are the first 8,
  /// b[2..3] the others.
  __device__ static void right_transposed(std::uint32_t (&b)[4], SharedAddress tile, int row, int kk) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    ldmatrix_x4(b, tile + offset_from(offset(lane % 8 + lane / 16 * 8, lane / 8 % 2), row, kk));
  }

  /// The right operand of left x tile: rows [row, row + 16) and columns 16 nn + [0, 16). b[0..1] are the
  /// first 8 columns, b[2..3] the others.
  __device__ static void right(std::uint32_t (&b)[4], SharedAddress tile, int row, int nn) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    ldmatrix_x4_transposed(b, tile + offset_from(offset(lane % 16, lane / 16), row, nn));
  }

  /// Puts an accumulator's 16 rows, times a factor for the upper and the lower 8, into the tile.
  __device__ static void put(unsigned char* tile, int row, const float (&c)[Width / 8][4], float upper,
                             float lower) {
    const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
#pragma unroll
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
#pragma unroll
    for (int i = 0; i < Rows * chunks / 32; ++i) {
      const int c = i * 32 + static_cast<int>(threadIdx.x % 32), r = row + c / chunks, chunk = c % chunks;
      if (r < present)
        *reinterpret_cast<Chunk*>(to + r * stride + chunk * 8) =
            *reinterpret_cast<const Chunk*>(tile + offset(r, chunk));
    }
  }
};

namespace detail {

/// Where queries stand among the keys of their sequence, and what they see.
struct FlashView {
  int queries, keys;
  bool causal;

  __device__ int position() const { return keys - queries; }  ///< of the first query among the keys
  /// Number of keys that `query` sees.
  __device__ int seen(int query) const {
    return causal ? std::min(keys, std::max(0, position() + query + 1)) : keys;
  }
  __device__ bool sees(int query, int key) const {
    return query < queries && key < keys && (!causal || key <= position() + query);
  }
  /// Whether queries from `query` on see all of the keys [key, key + n). Queries past the last count as
  /// there: all that is known of them is zero.
  __device__ bool all_seen(int query, int key, int n) const { return key + n <= seen(query); }
  /// Whether none of the queries [query, query + m) sees a key from `key` on.
  __device__ bool none_seen(int query, int m, int key) const { return key >= seen(query + m - 1); }
  /// log2(e) times the bias of a key that the query sees.
  __device__ float bias(const FlashArguments& a, int head, int query, int key) const {
    const std::int64_t at =
        std::int64_t{head} * (2 * a.bias_reach - 1) + key - position() - query + a.bias_reach - 1;
    return log2_of_e * static_cast<float>(a.bias[at]);
  }
};

/// Columns [16 kk, 16 kk + 16) of an accumulator as a left operand.
template <int N>
__device__ void left_of(std::uint32_t (&a)[4], const float (&c)[N][4], int kk) {
#pragma unroll
  for (int w = 0; w < 4; ++w)
    a[w] = pack_bf16(c[2 * kk + w / 2][w % 2 * 2], c[2 * kk + w / 2][w % 2 * 2 + 1]);
}

/// Columns [16 n, 16 n + 16) of c += a right.
template <int N>
__device__ void multiply(float (&c)[N][4], int n, const std::uint32_t (&a)[4],
                         const std::uint32_t (&right)[4]) {
  mma_bf16(c[2 * n], a, right[0], right[1]);
  mma_bf16(c[2 * n + 1], a, right[2], right[3]);
}

}  // namespace detail

}  // namespace retort::cuda
