#pragma once

#include <algorithm>
#include <cstddef>

#include "retort/kernels/cuda/flash_tile.cuh"

namespace retort::cuda {

namespace detail {

/// delta = rowsum(d_o o), (query rows, heads): Width / 8 lanes a head's row.
template <int Width>
__global__ void flash_delta_kernel(FlashArguments a) {
  constexpr unsigned lanes = Width / 8;
  const unsigned item = (blockIdx.x * blockDim.x + threadIdx.x) / lanes, lane = threadIdx.x % lanes;
  const int b = static_cast<int>(blockIdx.y), h = static_cast<int>(item) % a.heads;
  const int query = static_cast<int>(item) / a.heads;
  const bool present = query < a.q_length[b];
  const std::int64_t row = std::int64_t{a.q_begin[b]} + query;
  float sum = 0;
  if (present) {
    const std::int64_t at = row * a.o_stride + h * Width + static_cast<int>(lane) * 8;
    const Chunk o = *reinterpret_cast<const Chunk*>(a.o + at);
    const Chunk d_o = *reinterpret_cast<const Chunk*>(a.d_o + at);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      sum += low_bf16(o.word[i]) * low_bf16(d_o.word[i]) + high_bf16(o.word[i]) * high_bf16(d_o.word[i]);
  }
#pragma unroll
  for (unsigned step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(whole_warp, sum, step);
  if (present && lane == 0) a.delta[row * a.heads + h] = sum;
}

/// Groups of 16 rows that a warp owns: two share what is read of the streamed rows, where registers allow it.
template <int Width, bool Plain, bool OfKeys>
inline constexpr int flash_own_groups = Width == 64 && Plain && !OfKeys ? 2 : 1;

/// Rows that a block owns, and rows of a tile that it streams.
template <int Width, bool Plain, bool OfKeys>
inline constexpr int flash_own_tile = flash_own_groups<Width, Plain, OfKeys> * 16 * flash_warps;
inline constexpr int flash_stream_tile = 64;

template <int Width, bool Plain, bool OfKeys>
constexpr std::size_t flash_backward_shared() {
  constexpr int rows = 2 * flash_own_tile<Width, Plain, OfKeys> + 4 * flash_stream_tile;
  return static_cast<std::size_t>(FlashTile<Width>::bytes(rows)) +
         (OfKeys ? 4 * flash_stream_tile * sizeof(float) : 0);
}

/// Streamed rows that are worked on at once.
template <int Width, bool Plain, bool OfKeys>
inline constexpr int flash_stream_columns = Width <= 64 && Plain ? 32 : 16;

/// How often the loop over those is unrolled.
template <int Width, bool Plain, bool OfKeys>
inline constexpr int flash_unrolled =
    flash_own_groups<Width, Plain, OfKeys> == 2 && !OfKeys ? flash_stream_tile / 32 : 1;

/// Blocks whose registers a multiprocessor has room for, without spilling any.
template <int Width, bool Plain, bool OfKeys>
constexpr int flash_blocks() {
  constexpr int accumulated = Width * flash_own_groups<Width, Plain, OfKeys> * (OfKeys ? 2 : 1);
  return Plain && accumulated <= 64 ? 3 : 2;
}

/// Both halves of the gradient, with P = exp(scores - lse) recomputed and dS = P (dO V' - delta). `OfKeys`: a
/// block owns keys and values and streams queries, dK = scale dS' Q and dV = P' dO, scores being held
/// transposed. Else it owns queries and streams keys and values, dQ = scale dS K. No block adds to what
/// another writes. `Plain`: no bias.
template <int Width, bool Plain, bool OfKeys>
__global__ void __launch_bounds__(flash_threads, (flash_blocks<Width, Plain, OfKeys>()))
    flash_backward_kernel(FlashArguments a) {
  using Tile = FlashTile<Width>;
  constexpr int groups = flash_own_groups<Width, Plain, OfKeys>, rows = 16 * groups;
  constexpr int own_tile = flash_own_tile<Width, Plain, OfKeys>, stream = flash_stream_tile;
  constexpr int steps = Width / 16, columns = flash_stream_columns<Width, Plain, OfKeys>;
  // Whether the fragments of what is owned stay in registers.
  constexpr bool hold_1 = Width <= 64, hold_2 = hold_1 && (!OfKeys || groups * Width <= 64);

  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int g = lane / 4, t = lane % 4;
  // Of a causal attention early keys and late queries have the most to do: they start first.
  const int tile = static_cast<int>(!OfKeys && a.causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
  const int b = static_cast<int>(blockIdx.z), first = tile * own_tile;
  const FlashView view{a.q_length[b], a.k_length[b], a.causal};
  const int owned = OfKeys ? view.keys : view.queries;
  if (first >= owned) return;
  const int present = std::min(own_tile, owned - first);
  const int group = a.heads / a.kv_heads;
  const int h0 = static_cast<int>(blockIdx.y) * (OfKeys ? group : 1), kv = h0 / group;

  const std::int64_t q_row = a.q_begin[b], k_row = a.k_begin[b];
  const bf16* const k = a.k + k_row * a.k_stride + kv * Width;
  const bf16* const v = a.v + k_row * a.v_stride + kv * Width;
  const bf16* const q = a.q + q_row * a.q_stride + h0 * Width;
  const bf16* const d_o = a.d_o + q_row * a.o_stride + h0 * Width;

  unsigned char* const shared = dynamic_shared<unsigned char>();
  constexpr unsigned own_bytes = Tile::bytes(own_tile), stream_bytes = Tile::bytes(stream);
  const SharedAddress own_1 = shared_address(shared), own_2 = own_1 + own_bytes;  // K and V, or Q and dO
  const SharedAddress streamed = own_2 + own_bytes;  // two of: Q and dO, or K and V
  float* const rows_shared =
      reinterpret_cast<float*>(shared + 2 * own_bytes + 4 * stream_bytes);  // lse, delta

  // Streamed tiles with anything to do, and how often they are gone through.
  int begin = 0, end = 0;
  if constexpr (OfKeys) {
    begin = a.causal ? std::max(0, first - view.position()) / stream : 0;
    end = (view.queries + stream - 1) / stream;
  } else {
    end = (view.seen(first + present - 1) + stream - 1) / stream;
  }
  const int tiles = std::max(0, end - begin), turns = tiles * (OfKeys ? group : 1);

  const std::int64_t stride_1 = OfKeys ? a.q_stride : a.k_stride, stride_2 = OfKeys ? a.o_stride : a.v_stride;
  const auto source = [&](const bf16* from, std::int64_t stride) {
    return Tile::template source<flash_threads>(from, stride);
  };
  const auto source_1 = [&](int head) {
    return source((OfKeys ? q + head * Width : k) + begin * stream * stride_1, stride_1);
  };
  const auto source_2 = [&](int head) {
    return source((OfKeys ? d_o + head * Width : v) + begin * stream * stride_2, stride_2);
  };
  const bf16 *next_1 = source_1(0), *next_2 = source_2(0);
  int loaded_row = (begin - 1) * stream, loaded_head = 0;  // of the last tile that was asked for
  const auto load_stream = [&](int turn) {
    const SharedAddress to = streamed + static_cast<unsigned>(turn % 2) * 2 * stream_bytes;
    loaded_row += stream;
    if (OfKeys && loaded_row >= end * stream) {
      loaded_row = begin * stream;
      ++loaded_head;
      next_1 = source_1(loaded_head), next_2 = source_2(loaded_head);
    }
    const int there = (OfKeys ? view.queries : view.keys) - loaded_row;
    Tile::template load<stream, flash_threads>(to, next_1, stride_1, there);
    Tile::template load<stream, flash_threads>(to + stream_bytes, next_2, stride_2, there);
    if constexpr (OfKeys) {
      static_assert(flash_threads == 2 * stream, "one number of lse or delta a thread");
      const int i = static_cast<int>(threadIdx.x);
      const bool is_there = i % stream < there;
      const float* const from = i < stream ? a.lse : a.delta;
      cp_async_4(shared_address(rows_shared + turn % 2 * 2 * stream + i),
                 from + (q_row + (is_there ? loaded_row + i % stream : 0)) * a.heads + h0 + loaded_head,
                 is_there);
    }
  };

  const std::int64_t own_stride_1 = OfKeys ? a.k_stride : a.q_stride;
  const std::int64_t own_stride_2 = OfKeys ? a.v_stride : a.o_stride;
  const bf16* own_source_1 = source((OfKeys ? k : q) + first * own_stride_1, own_stride_1);
  const bf16* own_source_2 = source((OfKeys ? v : d_o) + first * own_stride_2, own_stride_2);
  Tile::template load<own_tile, flash_threads>(own_1, own_source_1, own_stride_1, present);
  Tile::template load<own_tile, flash_threads>(own_2, own_source_2, own_stride_2, present);
  cp_async_commit();
  if (turns > 0) load_stream(0);
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();

  const int row = warp * rows;  // the warp's first, in the block's tile
  std::uint32_t left_1[hold_1 ? steps : 1][groups][4], left_2[hold_2 ? steps : 1][groups][4];
#pragma unroll
  for (int kk = 0; kk < steps; ++kk) {
#pragma unroll
    for (int m = 0; m < groups; ++m) {
      if constexpr (hold_1) Tile::left(left_1[kk][m], own_1, row + 16 * m, kk);
      if constexpr (hold_2) Tile::left(left_2[kk][m], own_2, row + 16 * m, kk);
    }
  }
  float row_lse[groups][2] = {}, row_delta[groups][2] = {};  // of rows g and g + 8, where they are queries
  if constexpr (!OfKeys) {
#pragma unroll
    for (int i = 0; i < 2 * groups; ++i) {
      const int r = row + i * 8 + g;
      if (r < present) {
        row_lse[i / 2][i % 2] = a.lse[(q_row + first + r) * a.heads + h0] * log2_of_e;
        row_delta[i / 2][i % 2] = a.delta[(q_row + first + r) * a.heads + h0];
      }
    }
  }

  const float scale = a.scale * log2_of_e;
  float out_1[groups][Width / 8][4] = {};               // dK or dQ, before its scale
  float out_2[groups][OfKeys ? Width / 8 : 1][4] = {};  // dV

  for (int turn = 0; turn < turns; ++turn) {
    const int at = loaded_row, head = h0 + loaded_head;
    cp_async_wait<0>();
    __syncthreads();
    if (turn + 1 < turns) load_stream(turn + 1);
    cp_async_commit();
    const int query0 = OfKeys ? at : first + row, key0 = OfKeys ? first + row : at;
    if (view.none_seen(query0, OfKeys ? stream : rows, key0)) continue;
    const bool all_seen = view.all_seen(query0, key0, OfKeys ? rows : stream);
    const SharedAddress tile_1 = streamed + static_cast<unsigned>(turn % 2) * 2 * stream_bytes;
    const SharedAddress tile_2 = tile_1 + stream_bytes;
    const float* const column_lse = rows_shared + turn % 2 * 2 * stream;
    const float* const column_delta = column_lse + stream;

#pragma unroll(flash_unrolled <Width, Plain, OfKeys>)
    for (int column = 0; column < stream; column += columns) {
      float s[groups][columns / 8][4] = {}, dp[groups][columns / 8][4] = {};
#pragma unroll
      for (int kk = 0; kk < steps; ++kk) {
        auto& l1 = left_1[hold_1 ? kk : 0];
        auto& l2 = left_2[hold_2 ? kk : 0];
#pragma unroll
        for (int m = 0; m < groups; ++m) {
          if constexpr (!hold_1) Tile::left(l1[m], own_1, row + 16 * m, kk);
          if constexpr (!hold_2) Tile::left(l2[m], own_2, row + 16 * m, kk);
        }
#pragma unroll
        for (int n = 0; n < columns / 16; ++n) {
          std::uint32_t right[4];
          Tile::right_transposed(right, tile_1, column + n * 16, kk);
#pragma unroll
          for (int m = 0; m < groups; ++m) multiply(s[m], n, l1[m], right);
          Tile::right_transposed(right, tile_2, column + n * 16, kk);
#pragma unroll
          for (int m = 0; m < groups; ++m) multiply(dp[m], n, l2[m], right);
        }
      }

      // Entry (m, n, e) is of the owned row own(m, e) and of row column + other(n, e) of the streamed tile.
      const auto own = [&](int m, int e) { return first + row + m * 16 + e / 2 * 8 + g; };
      const auto other = [&](int n, int e) { return column + n * 8 + 2 * t + e % 2; };
#pragma unroll
      for (int n = 0; n < columns / 8; ++n) {
#pragma unroll
        for (int m = 0; m < groups; ++m) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const float taken = OfKeys ? column_lse[other(n, e)] * log2_of_e : row_lse[m][e / 2];
            float x = s[m][n][e] * scale;
            if constexpr (Plain) {
              s[m][n][e] = fast_exp2(x - taken);
            } else {
              const int query = OfKeys ? at + other(n, e) : own(m, e);
              const int key = OfKeys ? own(m, e) : at + other(n, e);
              const bool sees = view.sees(query, key);
              if (sees) x += view.bias(a, head, query, key);
              s[m][n][e] = sees ? fast_exp2(x - taken) : 0.0f;
            }
          }
        }
      }
      if (Plain && !all_seen) {
#pragma unroll
        for (int m = 0; m < groups; ++m) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int first_seen = own(m, e) - view.position() - at - other(0, e);
            const int first_unseen = view.seen(own(m, e)) - at - other(0, e);
#pragma unroll
            for (int n = 0; n < columns / 8; ++n) {
              if (OfKeys ? a.causal && n * 8 < first_seen : n * 8 >= first_unseen) s[m][n][e] = 0;
            }
          }
        }
      }
#pragma unroll
      for (int n = 0; n < columns / 8; ++n) {
#pragma unroll
        for (int m = 0; m < groups; ++m) {
#pragma unroll
          for (int e = 0; e < 4; ++e)
            dp[m][n][e] =
                s[m][n][e] * (dp[m][n][e] - (OfKeys ? column_delta[other(n, e)] : row_delta[m][e / 2]));
        }
      }

#pragma unroll
      for (int kk = 0; kk < columns / 16; ++kk) {
        std::uint32_t p[groups][4], ds[groups][4];
#pragma unroll
        for (int m = 0; m < groups; ++m) {
          left_of(p[m], s[m], kk);
          left_of(ds[m], dp[m], kk);
        }
#pragma unroll
        for (int n = 0; n < steps; ++n) {
          std::uint32_t right[4];
          Tile::right(right, tile_1, column + kk * 16, n);
#pragma unroll
          for (int m = 0; m < groups; ++m) multiply(out_1[m], n, ds[m], right);
          if constexpr (OfKeys) {
            Tile::right(right, tile_2, column + kk * 16, n);
#pragma unroll
            for (int m = 0; m < groups; ++m) multiply(out_2[m], n, p[m], right);
          }
        }
      }
    }
  }

  __syncwarp(whole_warp);  // the warp's own rows are not read any more
#pragma unroll
  for (int m = 0; m < groups; ++m) {
    Tile::put(shared, row + 16 * m, out_1[m], a.scale, a.scale);
    if constexpr (OfKeys) Tile::put(shared + own_bytes, row + 16 * m, out_2[m], 1.0f, 1.0f);
  }
  __syncwarp(whole_warp);
  if constexpr (OfKeys) {
    Tile::template store<rows>(shared, row, a.dk + (k_row + first) * a.k_stride + kv * Width, a.k_stride,
                               present);
    Tile::template store<rows>(shared + own_bytes, row, a.dv + (k_row + first) * a.v_stride + kv * Width,
                               a.v_stride, present);
  } else {
    Tile::template store<rows>(shared, row, a.dq + (q_row + first) * a.q_stride + h0 * Width, a.q_stride,
                               present);
  }
}

template <int Width, bool Plain>
void flash_backward(const FlashArguments& a) {
  const auto grid = [&](int rows, int own_tile, int heads) {
    return dim3(static_cast<unsigned>((rows + own_tile - 1) / own_tile), static_cast<unsigned>(heads),
                static_cast<unsigned>(a.sequences));
  };
  if (a.longest_keys > 0)
    launch(flash_backward_kernel<Width, Plain, true>,
           grid(a.longest_keys, flash_own_tile<Width, Plain, true>, a.kv_heads), dim3(flash_threads),
           flash_backward_shared<Width, Plain, true>(), a);
  if (a.longest_queries > 0)
    launch(flash_backward_kernel<Width, Plain, false>,
           grid(a.longest_queries, flash_own_tile<Width, Plain, false>, a.heads), dim3(flash_threads),
           flash_backward_shared<Width, Plain, false>(), a);
}

template <int Width>
void flash_backward(const FlashArguments& a) {
  constexpr std::int64_t threads = 256, items = threads * 8 / Width;
  const std::int64_t blocks = (std::int64_t{a.longest_queries} * a.heads + items - 1) / items;
  if (blocks > 0)
    launch(flash_delta_kernel<Width>, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(a.sequences)),
           dim3(threads), 0, a);
  if (a.bias == nullptr) {
    flash_backward<Width, true>(a);
  } else {
    flash_backward<Width, false>(a);
  }
}

}  // namespace detail

}  // namespace retort::cuda
