#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "retort/kernels/cuda/runtime.hpp"

/// How device code is started and how it names its shared memory, for two compilers: nvcc, and the host's
/// with RETORT_HOST_EXECUTOR, where tests/support/executor runs the same text with a fiber a thread.
#if defined(RETORT_HOST_EXECUTOR)

#include <executor/executor.hpp>

namespace retort::cuda {

using executor::dynamic_shared;
using executor::launch;

}  // namespace retort::cuda

#else

#include <cuda_runtime.h>

/// An array `type name[count]` that the threads of a block share.
#define RETORT_SHARED(type, name, count) __shared__ type name[count]

namespace retort::cuda {

/// The shared memory whose size is given at the launch, aligned to 16 bytes.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ uint4 retort_dynamic_shared[];
  return reinterpret_cast<T*>(retort_dynamic_shared);
}

/// Runs `kernel(args...)` on grid x block threads on the device's stream with `shared` bytes of dynamic
/// shared memory. Throws DeviceError if it cannot be started.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Args&&... args) {
  constexpr std::size_t without_asking = 48 * 1024;
  if (shared > without_asking)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
          "launch");
  kernel<<<grid, block, shared, static_cast<cudaStream_t>(stream())>>>(static_cast<Parameters>(args)...);
  check(cudaGetLastError(), "launch");
}

}  // namespace retort::cuda

#endif
