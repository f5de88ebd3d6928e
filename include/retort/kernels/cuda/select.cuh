#pragma once

#include "retort/kernels/cuda/row.cuh"

/// The largest numbers of a row without sorting it: a search of their least by the digits of an ordered key,
/// eight bits at a time, by a whole block. Counts and masses are integers, so the result does not depend on
/// the order of threads.
namespace retort::kernels::cuda {

/// An unsigned number that is ordered as the float is; both zeros have the same.
__device__ inline std::uint32_t ordered_key(float x) {
  const auto word = std::bit_cast<std::uint32_t>(x + 0.0f);  // -0 + 0 is +0
  return (word & 0x80000000u) != 0 ? ~word : word | 0x80000000u;
}

/// Which entries of a row may be taken: those of the first `limit` with a key above `key`, and of those with
/// that key the ones up to place `last`.
struct Kept {
  Index limit;
  std::uint32_t key = 0;
  Index last = std::numeric_limits<Index>::max();

  template <class T>
  __device__ bool operator()(const T* x, Index i) const {
    if (i >= limit) return false;
    const std::uint32_t k = ordered_key(static_cast<float>(x[i]));
    return k > key || (k == key && i <= last);
  }
};

/// Shared memory of a search.
struct SelectPlace {
  unsigned long long digits[256];
  unsigned long long above;  // mass of keys above the range searched
  std::uint32_t prefix;
  std::int32_t counts[row_threads_most / warp_size];
  Index found;
};

/// The place of the `wanted`-th entry (from 1) with the kept key, in all threads; `kept` says which may be
/// counted.
template <class T>
__device__ Index place_of_tie(const T* x, Index n, const Kept& kept, std::uint32_t key, Index wanted,
                              SelectPlace& place) {
  if (threadIdx.x == 0) place.found = n - 1;
  Index before = 0;
  for (Index chunk = 0; chunk < n; chunk += blockDim.x) {
    const Index i = chunk + threadIdx.x;
    const bool match = i < n && kept(x, i) && ordered_key(static_cast<float>(x[i])) == key;
    const unsigned found = __ballot_sync(all_lanes, match), lane = threadIdx.x % warp_size;
    const unsigned warp = threadIdx.x / warp_size;
    __syncthreads();
    if (lane == 0) place.counts[warp] = __popc(found);
    __syncthreads();
    Index mine = before + __popc(found & ((2u << lane) - 1u));
    for (unsigned w = 0; w < blockDim.x / warp_size; ++w) {
      if (w < warp) mine += place.counts[w];
      before += place.counts[w];
    }
    if (match && mine == wanted) place.found = i;
    if (before >= wanted) break;
  }
  __syncthreads();
  const Index result = place.found;
  __syncthreads();
  return result;
}

/// Narrows `kept` to its largest entries whose masses add up to `wanted` or more (with mass 1: to `wanted`
/// entries); of equals those that come first. `mass(i)` is an integer. All stay if there are not so many.
template <class T, class Mass>
__device__ Kept keep_largest(const T* x, Index n, const Kept& kept, unsigned long long wanted, Mass mass,
                             SelectPlace& place) {
  if (threadIdx.x == 0) place.above = 0, place.prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (unsigned d = threadIdx.x; d < 256; d += blockDim.x) place.digits[d] = 0;
    __syncthreads();
    const std::uint32_t prefix = place.prefix;
    for (Index i = threadIdx.x; i < n; i += blockDim.x) {
      if (!kept(x, i)) continue;
      const std::uint32_t key = ordered_key(static_cast<float>(x[i]));
      if (shift < 24 && (key >> (shift + 8)) != prefix) continue;
      atomicAdd(&place.digits[(key >> shift) & 255u], mass(i));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned long long above = place.above;
      int d = 255;
      while (d > 0 && above + place.digits[d] < wanted) above += place.digits[d--];
      place.above = above;
      place.prefix = (prefix << 8) | static_cast<std::uint32_t>(d);
    }
    __syncthreads();
  }
  const std::uint32_t key = place.prefix;
  const unsigned long long above = place.above;
  __syncthreads();
  // Entries with this key all have the same mass; how many of them are needed?
  constexpr std::uint32_t none = 0;  // places are kept plus 1
  if (threadIdx.x == 0) place.prefix = none;
  __syncthreads();
  for (Index i = threadIdx.x; i < n; i += blockDim.x)
    if (kept(x, i) && ordered_key(static_cast<float>(x[i])) == key)
      atomicMax(&place.prefix, static_cast<std::uint32_t>(i) + 1u);
  __syncthreads();
  const std::uint32_t one = place.prefix;
  __syncthreads();
  if (one == none) return kept;
  const unsigned long long each = mass(Index{one} - 1);
  const unsigned long long missing = wanted > above ? wanted - above : 1;
  const Index ties = each == 0 ? n : static_cast<Index>((missing + each - 1) / each);
  return {kept.limit, key, place_of_tie(x, n, kept, key, ties < 1 ? 1 : ties, place)};
}

}  // namespace retort::kernels::cuda
