#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <string>

#include "machine.hpp"
#include "retort/core/philox.hpp"
#include "retort/kernels/cpu/random.hpp"
#include "retort/tensor/tensor.hpp"
#if defined(RETORT_HAS_CUDA)
#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/runtime.hpp"
#endif

/// Benchmarks on a device chosen at run time: its flags, waiting for it, its memory, its name.
namespace bench {

/// Whether B computes on the CPU.
template <class B>
inline constexpr bool on_cpu = std::same_as<typename B::Device, retort::CpuDevice>;

/// Seconds on a steady clock once the device has done all it was given.
template <class B>
double now_on() {
#if defined(RETORT_HAS_CUDA)
  if constexpr (!on_cpu<B>) retort::cuda::synchronize();
#endif
  return now();
}

/// What a program computes on and in.
struct DeviceFlags {
  std::string device = "cpu";     ///< or cuda
  std::string dtype = "float32";  ///< on cuda tf32 or bfloat16 too
};

/// --device and --dtype; `app` is a CLI::App.
template <class App>
void add_device_flags(App& app, DeviceFlags& flags) {
  app.add_option("--device", flags.device, "cpu or cuda")->capture_default_str();
  app.add_option("--dtype", flags.dtype, "float32, on cuda tf32 or bfloat16 too")->capture_default_str();
}

/// Calls f with the backend that the flags name. Throws DeviceError for a device that this program or machine
/// does not have, ValueError for an unknown name.
template <class F>
auto with_backend(const DeviceFlags& flags, F f) {
  using namespace retort;
  const auto& [device, dtype] = flags;
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
  if constexpr (!on_cpu<B>) return retort::cuda::describe_device();
#endif
  return fmt::format("{}, {} threads", cpu_name(), retort::thread_count());
}

/// What --dtype calls B's numbers.
template <class B>
constexpr const char* dtype_name() {
  if (std::same_as<B, retort::CudaTf32>) return "tf32";
  return std::same_as<typename B::Scalar, retort::bf16> ? "bfloat16" : "float32";
}

/// Digits after the point of printed seconds.
template <class B>
inline constexpr int second_digits = on_cpu<B> ? 3 : 6;

/// Most bytes in use on the device since the last `reset_peak_bytes`; on the CPU of the process.
template <class B>
double peak_bytes() {
  if constexpr (on_cpu<B>)
    return peak_resident_bytes();
  else
    return static_cast<double>(retort::Pool<typename B::Device>::instance().statistics().peak_in_use);
}
template <class B>
void reset_peak_bytes() {
  retort::Pool<typename B::Device>::instance().trim();
  retort::Pool<typename B::Device>::instance().reset_peak();
  if constexpr (on_cpu<B>) reset_peak_resident_bytes();
}

/// Normally distributed numbers around 0, the same for the same seed.
template <class B>
retort::TensorOf<B> random_tensor(const retort::Shape& shape, std::uint64_t seed, double deviation) {
  retort::TensorOf<B> t(shape);
  retort::kernels::fill_normal(typename B::Device{}, retort::RandomKey{seed}, t.size(),
                               retort::StatisticOf<B>(0), static_cast<retort::StatisticOf<B>>(deviation),
                               t.data());
  return t;
}

}  // namespace bench
