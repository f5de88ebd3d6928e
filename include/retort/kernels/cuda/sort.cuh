#pragma once

#include "retort/kernels/cuda/parallel.cuh"

/// The stable order of indices, by radix sort on the device: what sums of rows that share an index need, so
/// that each adds its rows in their order.
namespace retort::kernels::cuda {
using namespace retort::cuda;

inline constexpr int digit_bits = 11, digits = 1 << digit_bits;  // three passes for 31 bits
inline constexpr int sort_threads = 256, sort_tile = 2048;       // keys a block works on

[[nodiscard]] __device__ inline int digit_of(std::int32_t key, int shift) {
  return static_cast<int>(static_cast<std::uint32_t>(key) >> shift) & (digits - 1);
}

/// count[digit][tile]: how many keys of a tile have a digit.
template <class = void>
__global__ void digit_counts_kernel(int shift, Index n, const std::int32_t* key, std::int32_t* count) {
  RETORT_SHARED(std::int32_t, found, digits);
  for (int d = static_cast<int>(threadIdx.x); d < digits; d += sort_threads) found[d] = 0;
  __syncthreads();
  const Index begin = Index{blockIdx.x} * sort_tile, end = begin + sort_tile < n ? begin + sort_tile : n;
  for (Index i = begin + threadIdx.x; i < end; i += sort_threads)
    atomicAdd(&found[digit_of(key[i], shift)], 1);
  __syncthreads();
  for (int d = static_cast<int>(threadIdx.x); d < digits; d += sort_threads)
    count[Index{d} * gridDim.x + blockIdx.x] = found[d];
}

/// Replaces numbers by the sums of those before them. One block of scan_threads.
inline constexpr int scan_threads = 1024;
template <class = void>
__global__ void exclusive_sums_kernel(Index n, std::int32_t* x) {
  RETORT_SHARED(std::int32_t, warp_total, warp_size);
  using Four = Vector<std::int32_t>;  // x begins at 16 bytes, n is a multiple of four
  const Index each = (n / 4 + scan_threads - 1) / scan_threads * 4, begin = each * threadIdx.x,
              end = begin + each < n ? begin + each : n;
  const unsigned lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  std::int32_t mine = 0;
#pragma unroll 8
  for (Index i = begin; i < end; i += 4) {
    const Four v = Four::load(x + i);
    mine += (v.at[0] + v.at[1]) + (v.at[2] + v.at[3]);
  }
  std::int32_t upto = mine;  // of the warp's lanes, this one's included
  for (unsigned offset = 1; offset < warp_size; offset *= 2) {
    const std::int32_t other = __shfl_up_sync(all_lanes, upto, offset);
    if (lane >= offset) upto += other;
  }
  if (lane == warp_size - 1) warp_total[warp] = upto;
  __syncthreads();
  std::int32_t before = upto - mine;
  for (unsigned w = 0; w < warp; ++w) before += warp_total[w];
#pragma unroll 4
  for (Index i = begin; i < end; i += 4) {
    Four v = Four::load(x + i);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const std::int32_t own = v.at[c];
      v.at[c] = before;
      before += own;
    }
    v.store(x + i);
  }
}

/// Moves keys, and what goes with them, to their places by one digit; `place` is what exclusive_sums_kernel
/// made of the counts. value == nullptr: each key's own position.
template <class = void>
__global__ void move_by_digit_kernel(int shift, Index n, const std::int32_t* key, const std::int32_t* value,
                                     const std::int32_t* place, std::int32_t* key_out,
                                     std::int32_t* value_out) {
  RETORT_SHARED(std::int32_t, next, digits);
  RETORT_SHARED(std::int32_t, digit, sort_threads);
  const int t = static_cast<int>(threadIdx.x);
  for (int d = t; d < digits; d += sort_threads) next[d] = place[Index{d} * gridDim.x + blockIdx.x];
  const Index begin = Index{blockIdx.x} * sort_tile, end = begin + sort_tile < n ? begin + sort_tile : n;
  for (Index first = begin; first < end; first += sort_threads) {
    const Index i = first + t;
    const std::int32_t k = i < end ? key[i] : 0;
    const int mine = i < end ? digit_of(k, shift) : -1;
    digit[t] = mine;
    __syncthreads();
    int before = 0, after = 0;  // threads with the same digit
    for (int o = 0; o < sort_threads; ++o) {
      const int same = digit[o] == mine ? 1 : 0;
      before += o < t ? same : 0;
      after += o > t ? same : 0;
    }
    if (mine >= 0) {
      const std::int32_t to = next[mine] + before;
      key_out[to] = k;
      value_out[to] = value != nullptr ? value[i] : static_cast<std::int32_t>(i);
    }
    __syncthreads();
    if (mine >= 0 && after == 0) next[mine] += before + 1;
    __syncthreads();
  }
}

/// Indices, which must not be negative, in ascending order, and where each was; equal ones in the order of
/// their places.
class SortedIndices {
 public:
  SortedIndices(Index n, const std::int32_t* index)
      : n_(static_cast<std::size_t>(n)),
        tiles_(static_cast<std::size_t>((n + sort_tile - 1) / sort_tile)),
        memory_((4 * n_ + digits * tiles_) * sizeof(std::int32_t)) {
    std::int32_t *counts = memory_.as<std::int32_t>(), *a = counts + digits * tiles_, *b = a + 2 * n_;
    const std::int32_t *key = index, *value = nullptr;
    for (const int shift : {0, digit_bits, 2 * digit_bits}) {
      launch(digit_counts_kernel<>, static_cast<unsigned>(tiles_), sort_threads, 0, shift, n, key, counts);
      launch(exclusive_sums_kernel<>, 1, scan_threads, 0, static_cast<Index>(digits * tiles_), counts);
      launch(move_by_digit_kernel<>, static_cast<unsigned>(tiles_), sort_threads, 0, shift, n, key, value,
             static_cast<const std::int32_t*>(counts), a, a + n_);
      key = a, value = a + n_;
      std::swap(a, b);
    }
    sorted_ = key;
  }
  [[nodiscard]] const std::int32_t* index() const { return sorted_; }
  [[nodiscard]] const std::int32_t* position() const { return sorted_ + n_; }

 private:
  std::size_t n_, tiles_;
  retort::cuda::Scratch memory_;
  const std::int32_t* sorted_ = nullptr;
};

}  // namespace retort::kernels::cuda
