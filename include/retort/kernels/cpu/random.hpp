#pragma once

#include "retort/core/parallel.hpp"
#include "retort/core/philox.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/tensor/device.hpp"

namespace retort::kernels {

/// x[i] = mean + deviation * (standard normal number i of `key`).
template <Real T>
void fill_normal(CpuDevice, RandomKey key, Index count, T mean, T deviation, T* x) {
  parallel_for(count, 4096, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      x[i] = mean + deviation * static_cast<T>(key.normal(static_cast<std::uint64_t>(i)));
  });
}

/// x[i] uniform in (low, high), number i of `key`.
template <Real T>
void fill_uniform(CpuDevice, RandomKey key, Index count, T low, T high, T* x) {
  parallel_for(count, 4096, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i)
      x[i] = low + (high - low) * key.template uniform<T>(static_cast<std::uint64_t>(i));
  });
}

/// y[i] (+)= x[i] / (1 - p) with probability 1 - p, else 0: element i is dropped when uniform number i of
/// `key` is below p. The gradient is the same map applied to dy. y may be x.
template <Real T>
void dropout(CpuDevice, Write write, RandomKey key, Index count, double p, const T* x, T* y) {
  const T keep = static_cast<T>(1 / (1 - p));
  parallel_for((count + 3) / 4, 2048, [&](Index begin, Index end) {
    for (Index block = begin; block < end; ++block) {
      const auto words = key.block(static_cast<std::uint64_t>(block));
      for (Index i = block * 4; i < std::min(count, block * 4 + 4); ++i) {
        const bool dropped = RandomKey::to_uniform<double>(words[static_cast<std::size_t>(i & 3)]) < p;
        const T value = dropped ? T(0) : x[i] * keep;
        y[i] = write == Write::accumulate ? y[i] + value : value;
      }
    }
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_RANDOM_INSTANCES(PREFIX, T)                                     \
  PREFIX template void fill_normal<T>(CpuDevice, RandomKey, Index, T, T, T*);  \
  PREFIX template void fill_uniform<T>(CpuDevice, RandomKey, Index, T, T, T*); \
  PREFIX template void dropout<T>(CpuDevice, Write, RandomKey, Index, double, const T*, T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_RANDOM_INSTANCES(extern, float)
RETORT_RANDOM_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
