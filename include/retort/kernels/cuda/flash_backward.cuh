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

/// Rows that a block owns, 16 a warp, and rows of a tile that it streams.
inline constexpr int flash_own_tile = 16 * flash_warps, flash_stream_tile = 64;

template <int Width, bool OfKeys>
constexpr std::size_t flash_backward_shared() {
  return static_cast<std::size_t>(FlashTile<Width>::bytes(2 * flash_own_tile + 4 * flash_stream_tile)) +
         (OfKeys ? 4 * flash_stream_tile * sizeof(float) : 0);
}

/// Blocks whose registers a multiprocessor has room for, without spilling any.
template <int Width, bool Plain, bool OfKeys>
inline constexpr int flash_blocks = Plain && (Width == 32 || (Width == 64 && !OfKeys)) ? 3 : 2;

/// Both halves of the gradient, with P = exp(scores - lse) recomputed and dS = P (dO V' - delta). `OfKeys`: a
/// block owns keys and values and streams queries, dK = scale dS' Q and dV = P' dO, scores being held
/// transposed. Else it owns queries and streams keys and values, dQ = scale dS K. No block adds to what
/// another writes. `Plain`: no bias.
template <int Width, bool Plain, bool OfKeys>
__global__ void __launch_bounds__(flash_threads, flash_blocks<Width, Plain, OfKeys>)
    flash_backward_kernel(FlashArguments a) {
  using Tile = FlashTile<Width>;
  constexpr int steps = Width / 16, own_tile = flash_own_tile, stream = flash_stream_tile;
  constexpr int columns = Width <= 64 && Plain ? 32 : 16;  // worked on at once
  constexpr bool hold = Width <= 64;                       // the fragments of what is owned stay in registers

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

  const int row = warp * 16;  // the warp's first, in the block's tile
  std::uint32_t left_1[hold ? steps : 1][4], left_2[hold ? steps : 1][4];
#pragma unroll
  for (int kk = 0; kk < steps; ++kk) {
    if constexpr (hold) {
      Tile::left(left_1[kk], own_1, row, kk);
      Tile::left(left_2[kk], own_2, row, kk);
    }
  }
  float row_lse[2] = {}, row_delta[2] = {};  // of rows g and g + 8, where they are queries
  if constexpr (!OfKeys) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + half * 8 + g;
      if (r < present) {
        row_lse[half] = a.lse[(q_row + first + r) * a.heads + h0] * log2_of_e;
        row_delta[half] = a.delta[(q_row + first + r) * a.heads + h0];
      }
    }
  }

  const float scale = a.scale * log2_of_e;
  float out_1[Width / 8][4] = {};               // dK or dQ, before its scale
  float out_2[OfKeys ? Width / 8 : 1][4] = {};  // dV

  for (int turn = 0; turn < turns; ++turn) {
    const int at = loaded_row, head = h0 + loaded_head;
    cp_async_wait<0>();
    __syncthreads();
    if (turn + 1 < turns) load_stream(turn + 1);
    cp_async_commit();
    const int query0 = OfKeys ? at : first + row, key0 = OfKeys ? first + row : at;
    if (view.none_seen(query0, OfKeys ? stream : 16, key0)) continue;
    const bool all_seen = view.all_seen(query0, key0, OfKeys ? 16 : stream);
    const SharedAddress tile_1 = streamed + static_cast<unsigned>(turn % 2) * 2 * stream_bytes;
    const SharedAddress tile_2 = tile_1 + stream_bytes;
    const float* const column_lse = rows_shared + turn % 2 * 2 * stream;
    const float* const column_delta = column_lse + stream;

#pragma unroll 1
    for (int column = 0; column < stream; column += columns) {
      float s[columns / 8][4] = {}, dp[columns / 8][4] = {};
#pragma unroll
      for (int kk = 0; kk < steps; ++kk) {
        auto& l1 = left_1[hold ? kk : 0];
        auto& l2 = left_2[hold ? kk : 0];
        if constexpr (!hold) {
          Tile::left(l1, own_1, row, kk);
          Tile::left(l2, own_2, row, kk);
        }
#pragma unroll
        for (int n = 0; n < columns / 16; ++n) {
          std::uint32_t right[4];
          Tile::right_transposed(right, tile_1, column + n * 16, kk);
          multiply(s, n, l1, right);
          Tile::right_transposed(right, tile_2, column + n * 16, kk);
          multiply(dp, n, l2, right);
        }
      }

      // Entry (n, e) is of the owned row own(e) and of row column + other(n, e) of the streamed tile.
      const auto own = [&](int e) { return first + row + e / 2 * 8 + g; };
      const auto other = [&](int n, int e) { return column + n * 8 + 2 * t + e % 2; };
#pragma unroll
      for (int n = 0; n < columns / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float x = s[n][e] * scale;
          if constexpr (!Plain) {
            const int query = OfKeys ? at + other(n, e) : own(e), key = OfKeys ? own(e) : at + other(n, e);
            if (view.sees(query, key)) x += view.bias(a, head, query, key);
          }
          s[n][e] = fast_exp2(x - (OfKeys ? column_lse[other(n, e)] * log2_of_e : row_lse[e / 2]));
        }
      }
      if (!all_seen) {
#pragma unroll
        for (int n = 0; n < columns / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int query = OfKeys ? at + other(n, e) : own(e), key = OfKeys ? own(e) : at + other(n, e);
            if (!view.sees(query, key)) s[n][e] = 0;
          }
        }
      }
#pragma unroll
      for (int n = 0; n < columns / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          dp[n][e] = s[n][e] * (dp[n][e] - (OfKeys ? column_delta[other(n, e)] : row_delta[e / 2]));
      }

#pragma unroll
      for (int kk = 0; kk < columns / 16; ++kk) {
        std::uint32_t p[4], ds[4];
        left_of(p, s, kk);
        left_of(ds, dp, kk);
#pragma unroll
        for (int n = 0; n < steps; ++n) {
          std::uint32_t right[4];
          Tile::right(right, tile_1, column + kk * 16, n);
          multiply(out_1, n, ds, right);
          if constexpr (OfKeys) {
            Tile::right(right, tile_2, column + kk * 16, n);
            multiply(out_2, n, p, right);
          }
        }
      }
    }
  }

  __syncwarp(whole_warp);  // the warp's own rows are not read any more
  Tile::put(shared, row, out_1, a.scale, a.scale);
  if constexpr (OfKeys) Tile::put(shared + own_bytes, row, out_2, 1.0f, 1.0f);
  __syncwarp(whole_warp);
  if constexpr (OfKeys) {
    Tile::template store<16>(shared, row, a.dk + (k_row + first) * a.k_stride + kv * Width, a.k_stride,
                             present);
    Tile::template store<16>(shared + own_bytes, row, a.dv + (k_row + first) * a.v_stride + kv * Width,
                             a.v_stride, present);
  } else {
    Tile::template store<16>(shared, row, a.dq + (q_row + first) * a.q_stride + h0 * Width, a.q_stride,
                             present);
  }
}

template <int Width, bool Plain>
void flash_backward(const FlashArguments& a) {
  const auto tiles = [](int rows) {
    return static_cast<unsigned>((rows + flash_own_tile - 1) / flash_own_tile);
  };
  const auto sequences = static_cast<unsigned>(a.sequences);
  if (a.longest_keys > 0)
    launch(flash_backward_kernel<Width, Plain, true>,
           dim3(tiles(a.longest_keys), static_cast<unsigned>(a.kv_heads), sequences), dim3(flash_threads),
           flash_backward_shared<Width, true>(), a);
  if (a.longest_queries > 0)
    launch(flash_backward_kernel<Width, Plain, false>,
           dim3(tiles(a.longest_queries), static_cast<unsigned>(a.heads), sequences), dim3(flash_threads),
           flash_backward_shared<Width, false>(), a);
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
