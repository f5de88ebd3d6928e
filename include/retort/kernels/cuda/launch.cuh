#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "retort/kernels/cuda/recording.hpp"
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

#include <array>
#include <new>

/// An array `type name[count]` that the threads of a block share.
#define RETORT_SHARED(type, name, count) __shared__ type name[count]

namespace retort::cuda {

/// The shared memory whose size is given at the launch, aligned to 16 bytes.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ uint4 retort_dynamic_shared[];
  return reinterpret_cast<T*>(retort_dynamic_shared);
}

/// A launch that can be kept: arguments as a plain aggregate.
template <class... Ts>
struct Arguments {
  static Arguments of() { return {}; }
  template <class F, class... Before>
  void pass_to(F f, const Before&... before) const {
    f(before...);
  }
};
template <class T, class... Ts>
struct Arguments<T, Ts...> {
  T first;
  Arguments<Ts...> rest;
  static Arguments of(const T& first, const Ts&... rest) { return {first, Arguments<Ts...>::of(rest...)}; }
  template <class F, class... Before>
  void pass_to(F f, const Before&... before) const {
    rest.pass_to(f, before..., first);
  }
};

template <class... Parameters>
struct Launch {
  void (*kernel)(Parameters...);
  std::array<unsigned, 3> grid, block;
  std::size_t shared;
  Arguments<Parameters...> args;

  void operator()() const {
    constexpr std::size_t without_asking = 48 * 1024;
    if (shared > without_asking)
      check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
            "launch");
    args.pass_to([this](const Parameters&... p) {
      kernel<<<dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), shared,
               static_cast<cudaStream_t>(stream())>>>(p...);
    });
    check(cudaGetLastError(), "launch");
  }
};

/// Runs `kernel(args...)` on grid x block threads on the device's stream with `shared` bytes of dynamic
/// shared memory. Throws DeviceError if it cannot be started.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Args&&... args) {
  shared = (shared + 15) / 16 * 16;  // dynamic_shared is read by 16 bytes
  using Made = Launch<Parameters...>;
  // Zeros between the members, too: recordings are compared.
  alignas(Made) std::byte place[sizeof(Made)] = {};
  submit(*new (place) Made{kernel,
                           {grid.x, grid.y, grid.z},
                           {block.x, block.y, block.z},
                           shared,
                           Arguments<Parameters...>::of(static_cast<Parameters>(args)...)});
}

}  // namespace retort::cuda

#endif
