#pragma once

#include <string>

#include "retort/core/error.hpp"
#include "retort/tensor/device.hpp"
#if defined(RETORT_HAS_CUDA)
#include "retort/kernels/cuda/runtime.hpp"
#endif

/// The device that a program computes on, chosen by its flags.
namespace support {

struct Device {
  std::string name = "cpu";       ///< cpu or cuda
  std::string dtype = "float32";  ///< or, on cuda, bfloat16
};

/// --device and --dtype; `app` is a CLI::App.
template <class App>
void add_device_flags(App& app, Device& device, const char* group) {
  app.add_option("--device", device.name, "cpu, or cuda: the first NVIDIA GPU")
      ->capture_default_str()
      ->group(group);
  app.add_option("--dtype", device.dtype, "float32, or on cuda bfloat16: what models compute in")
      ->capture_default_str()
      ->group(group);
}

/// Calls f with the backend that the flags name. Throws DeviceError for a device that this program or this
/// machine does not have, ValueError for what no backend is.
template <class F>
auto with_backend(const Device& device, F f) {
  using namespace retort;
  if (device.name == "cpu" && device.dtype == "float32") return f(Cpu<float>{});
  if (device.name != "cuda" || (device.dtype != "float32" && device.dtype != "bfloat16"))
    fail<ValueError>("device", "'{}' with '{}': expected cpu with float32, or cuda with float32 or bfloat16",
                     device.name, device.dtype);
#if defined(RETORT_HAS_CUDA)
  cuda::require_device();
  if (device.dtype == "bfloat16") return f(Cuda<bf16>{});
  return f(Cuda<float>{});
#else
  fail<DeviceError>("cuda", "this program was built without RETORT_CUDA");
#endif
}

/// Throws what `with_backend` would.
inline void require(const Device& device) {
  with_backend(device, [](auto) {});
}

/// Sources that are compiled once for every backend (see retort_example in examples/CMakeLists.txt)
/// instantiate their templates for this one.
#if defined(RETORT_EXAMPLE_BACKEND)
using CompiledBackend = RETORT_EXAMPLE_BACKEND;
#else
using CompiledBackend = retort::Cpu<float>;
#endif

}  // namespace support
