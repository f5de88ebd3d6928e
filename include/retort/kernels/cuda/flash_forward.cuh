#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include "retort/kernels/cuda/flash_tile.cuh"

namespace retort::cuda {

namespace detail {

/// Groups of 16 query rows of a warp: two share what is read of the keys and values, where registers allow
/// it.
template <int Width>
inline constexpr int flash_row_groups = Width <= 64 ? 2 : 1;

/// Query rows of a block.
template <int Width>
inline constexpr int flash_query_tile = flash_warps * 16 * flash_row_groups<Width>;

/// Keys of a tile; the bias needs registers too.
template <bool Plain>
inline constexpr int flash_key_tile = Plain ? 64 : 32;

/// How far the exponent of a weight, base 2, may rise above 0 before the number that is taken from its row's
/// exponents is raised.
inline constexpr float flash_slack = 8;

/// One tile of a softmax: s, scores whose exponents base 2 are factor s, become weights relative to `shift`,
/// a number near the greatest exponent of their row so far. Where a score of the warp's is too far above
/// that, each of the warp's shifts is raised to the greatest, and `sum` and `o` are scaled down to it. Entry
/// i of `shift` and `sum` is of row g + 8 i; a sum is of this lane's columns only.
template <int Groups, int N, int M>
__device__ void flash_softmax(float (&s)[Groups][N][4], float (&o)[Groups][M][4], float (&shift)[Groups][2],
                              float (&sum)[Groups][2], float factor) {
  float top[Groups][2];  // the greatest exponents
  bool exceeds = false;
#pragma unroll
  for (int m = 0; m < Groups; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float greatest = -INFINITY;
#pragma unroll
      for (int n = 0; n < N; ++n) greatest = fmaxf(greatest, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
      top[m][half] = greatest * factor;
      exceeds |= top[m][half] > shift[m][half] + flash_slack;
    }
  }
  if (__any_sync(whole_warp, exceeds)) {
#pragma unroll
    for (int m = 0; m < Groups; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float raised = fmaxf(shift[m][half], top[m][half]);
        raised = fmaxf(raised, __shfl_xor_sync(whole_warp, raised, 1));
        raised = fmaxf(raised, __shfl_xor_sync(whole_warp, raised, 2));
        const float shrink = fast_exp2(shift[m][half] - raised);
        shift[m][half] = raised;
        sum[m][half] *= shrink;
#pragma unroll
        for (int n = 0; n < M; ++n) {
          o[m][n][2 * half] *= shrink;
          o[m][n][2 * half + 1] *= shrink;
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < Groups; ++m) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        s[m][n][e] = fast_exp2(s[m][n][e] * factor - shift[m][e / 2]);
        sum[m][e / 2] += s[m][n][e];
      }
    }
  }
}

/// A block computes a tile of query rows of one head, each warp its own, over tiles of keys (Dao 2023,
/// FlashAttention-2, algorithm 1): running shift and sum of each row, the output rescaled when the shift
/// grows. `Plain`: no bias and a positive scale, so that the maximum may be taken before scaling.
template <int Width, bool Plain>
__global__ void __launch_bounds__(flash_threads, 2) flash_forward_kernel(FlashArguments a) {
  using Tile = FlashTile<Width>;
  constexpr int groups = flash_row_groups<Width>, rows = 16 * groups, query_tile = flash_warps * rows;
  constexpr int columns = flash_key_tile<Plain>;
  constexpr int steps = Width / 16, key_steps = columns / 16;

  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int g = lane / 4, t = lane % 4;
  // Late tiles of a causal attention have the most keys: they start first.
  const int tile = static_cast<int>(a.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  const int h = static_cast<int>(blockIdx.y), b = static_cast<int>(blockIdx.z);
  const int first = tile * query_tile;
  const FlashView view{a.q_length[b], a.k_length[b], a.causal};
  if (first >= view.queries) return;
  const int present = std::min(query_tile, view.queries - first);
  const std::int64_t q_row = std::int64_t{a.q_begin[b]} + first;
  const int kv = h / (a.heads / a.kv_heads);
  const bf16* const k = a.k + a.k_begin[b] * a.k_stride + kv * Width;
  const bf16* const v = a.v + a.k_begin[b] * a.v_stride + kv * Width;

  unsigned char* const q_shared = dynamic_shared<unsigned char>();
  const SharedAddress q_tile = shared_address(q_shared), kv_tiles = q_tile + Tile::bytes(query_tile);
  constexpr unsigned tile_bytes = Tile::bytes(columns);
  const bf16* k_source = Tile::template source<flash_threads>(k, a.k_stride);
  const bf16* v_source = Tile::template source<flash_threads>(v, a.v_stride);
  const auto load_keys = [&](int i) {  // to be called for each tile in turn
    const SharedAddress to = kv_tiles + static_cast<unsigned>(i % 2) * 2 * tile_bytes;
    const int there = view.keys - i * columns;
    Tile::template load<columns, flash_threads>(to, k_source, a.k_stride, there);
    Tile::template load<columns, flash_threads>(to + tile_bytes, v_source, a.v_stride, there);
  };

  const int tiles = (view.seen(first + present - 1) + columns - 1) / columns;
  const bf16* q_source =
      Tile::template source<flash_threads>(a.q + q_row * a.q_stride + h * Width, a.q_stride);
  Tile::template load<query_tile, flash_threads>(q_tile, q_source, a.q_stride, present);
  cp_async_commit();
  if (tiles > 0) load_keys(0);
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();

  const int row = warp * rows;  // the warp's first, in the block's tile
  std::uint32_t q[steps][groups][4];
#pragma unroll
  for (int kk = 0; kk < steps; ++kk) {
#pragma unroll
    for (int m = 0; m < groups; ++m) Tile::left(q[kk][m], q_tile, row + 16 * m, kk);
  }
  const float scale = a.scale * log2_of_e, factor = Plain ? scale : 1.0f;

  float o[groups][Width / 8][4] = {};
  float shift[groups][2], sum[groups][2] = {};
#pragma unroll
  for (int i = 0; i < 2 * groups; ++i) shift[i / 2][i % 2] = std::numeric_limits<float>::lowest();

  for (int i = 0; i < tiles; ++i) {
    cp_async_wait<0>();
    __syncthreads();
    if (i + 1 < tiles) load_keys(i + 1);
    cp_async_commit();
    const int key = i * columns;
    if (view.none_seen(first + row, rows, key)) continue;
    const SharedAddress k_tile = kv_tiles + static_cast<unsigned>(i % 2) * 2 * tile_bytes;
    const SharedAddress v_tile = k_tile + tile_bytes;

    float s[groups][columns / 8][4] = {};
#pragma unroll
    for (int kk = 0; kk < steps; ++kk) {
#pragma unroll
      for (int n = 0; n < key_steps; ++n) {
        std::uint32_t right[4];
        Tile::right_transposed(right, k_tile, n * 16, kk);
#pragma unroll
        for (int m = 0; m < groups; ++m) multiply(s[m], n, q[kk][m], right);
      }
    }

    if (!Plain || !view.all_seen(first + row, key, columns)) {
#pragma unroll
      for (int m = 0; m < groups; ++m) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int query = first + row + m * 16 + e / 2 * 8 + g, column = key + 2 * t + e % 2;
          const int seen = view.seen(query) - column;
#pragma unroll
          for (int n = 0; n < columns / 8; ++n) {
            float& x = s[m][n][e];
            if constexpr (!Plain) {
              x *= scale;
              if (a.bias != nullptr && view.sees(query, column + n * 8))
                x += view.bias(a, h, query, column + n * 8);
            }
            if (n * 8 >= seen) x = -INFINITY;
          }
        }
      }
    }

    flash_softmax(s, o, shift, sum, factor);

#pragma unroll
    for (int kk = 0; kk < key_steps; ++kk) {
      std::uint32_t p[groups][4];
#pragma unroll
      for (int m = 0; m < groups; ++m) left_of(p[m], s[m], kk);
#pragma unroll
      for (int n = 0; n < steps; ++n) {
        std::uint32_t right[4];
        Tile::right(right, v_tile, kk * 16, n);
#pragma unroll
        for (int m = 0; m < groups; ++m) multiply(o[m], n, p[m], right);
      }
    }
  }

  __syncwarp(whole_warp);  // the warp's rows of q are not read any more
#pragma unroll
  for (int m = 0; m < groups; ++m) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float total = sum[m][half];
      total += __shfl_xor_sync(whole_warp, total, 1);
      total += __shfl_xor_sync(whole_warp, total, 2);
      inverse[half] = total > 0 ? 1 / total : 0.0f;
      const int r = row + m * 16 + half * 8 + g;
      if (t == 0 && r < present)
        a.lse[(q_row + r) * a.heads + h] = total > 0 ? shift[m][half] * ln_of_2 + logf(total) : -INFINITY;
    }
    Tile::put(q_shared, row + m * 16, o[m], inverse[0], inverse[1]);
  }
  __syncwarp(whole_warp);
  Tile::template store<rows>(q_shared, row, a.o + q_row * a.o_stride + h * Width, a.o_stride, present);
}

template <int Width>
void flash_forward(const FlashArguments& a) {
  const dim3 grid(
      static_cast<unsigned>((a.longest_queries + flash_query_tile<Width> - 1) / flash_query_tile<Width>),
      static_cast<unsigned>(a.heads), static_cast<unsigned>(a.sequences));
  const bool plain = a.bias == nullptr && a.scale > 0;
  const auto shared = [](int keys) {
    return static_cast<std::size_t>(FlashTile<Width>::bytes(flash_query_tile<Width> + 4 * keys));
  };
  if (plain) {
    launch(flash_forward_kernel<Width, true>, grid, dim3(flash_threads), shared(flash_key_tile<true>), a);
  } else {
    launch(flash_forward_kernel<Width, false>, grid, dim3(flash_threads), shared(flash_key_tile<false>), a);
  }
}

}  // namespace detail

}  // namespace retort::cuda
