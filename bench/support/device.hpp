#pragma once

#include <fmt/format.h>

#include <string>

#include "machine.hpp"
#include "retort/tensor/tensor.hpp"
#if defined(RETORT_HAS_CUDA)
#include "retort/kernels/cuda/runtime.hpp"
#endif

/// Benchmarks on a device chosen at run time: waiting for it, its memory, its name.
namespace bench {

/// Seconds on a steady clock once the device has done all it was given.
template <class B>
double now_on() {
#if defined(RETORT_HAS_CUDA)
  if constexpr (!std::same_as<typename B::Device, retort::CpuDevice>) retort::cuda::synchronize();
#endif
  return now();
}

/// Calls f with the backend that `device` (cpu, cuda) and `dtype` (float32, tf32, bfloat16) name. Throws
/// DeviceError for a device that this program or machine does not have, ValueError for an unknown name.
template <class F>
auto with_backend(const std::string& device, const std::string& dtype, F f) {
  using namespace retort;
  if (device == "cpu" && dtype == "float32") return f(Cpu<float>{});
#if defined(RETORT_HAS_CUDA)
  if (device == "cuda") {
    cuda::require_device();
    if (dtype == "float32") return f(Cuda<float>{});
    if (dtype == "bfloat16") return f(Cuda<bf16>{});
    if (dtype == "tf32") return f(CudaTf32{});
  }
#else
  if (device == "cuda") fail<DeviceError>("cuda", "this program was built without RETORT_CUDA");
#endif
  fail<ValueError>("device",
                   "'{}' with '{}': expected cpu with float32, or cuda with float32, tf32 or bfloat16",
                   device, dtype);
}

/// What a device is called.
template <class B>
std::string device_name() {
#if defined(RETORT_HAS_CUDA)
  if constexpr (!std::same_as<typename B::Device, retort::CpuDevice>) return retort::cuda::describe_device();
#endif
  return fmt::format("{}, {} threads", cpu_name(), retort::thread_count());
}

/// Most bytes in use on the device since the last `reset_peak_bytes`; on the CPU of the process.
template <class B>
double peak_bytes() {
  if constexpr (std::same_as<typename B::Device, retort::CpuDevice>)
    return peak_resident_bytes();
  else
    return static_cast<double>(retort::Pool<typename B::Device>::instance().statistics().peak_in_use);
}
template <class B>
void reset_peak_bytes() {
  retort::Pool<typename B::Device>::instance().trim();
  retort::Pool<typename B::Device>::instance().reset_peak();
}

}  // namespace bench
