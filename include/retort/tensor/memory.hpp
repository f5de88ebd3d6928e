#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "retort/tensor/device.hpp"

/// Filling and copying, one overload a device: all that a tensor itself needs of its device besides the pool.
namespace retort::memory {

template <class T>
void fill(CpuDevice, T* data, std::int64_t count, T value) {
  std::fill_n(data, count, value);
}

/// Copy between two places on the same device.
template <class T>
void copy(CpuDevice, const T* from, T* to, std::int64_t count) {
  std::copy_n(from, count, to);
}

template <class T>
void from_host(CpuDevice, const T* from, T* to, std::int64_t count) {
  std::copy_n(from, count, to);
}

template <class T>
void to_host(CpuDevice, const T* from, T* to, std::int64_t count) {
  std::copy_n(from, count, to);
}

/// Bytes to and from the GPU and on it, in the order of its stream. `to_host_bytes` waits for the stream and
/// reports what kernels complained about meanwhile.
void fill_bytes(CudaDevice, void* data, const void* value, std::size_t value_bytes, std::int64_t count);
void copy_bytes(CudaDevice, const void* from, void* to, std::size_t bytes);
void from_host_bytes(CudaDevice, const void* from, void* to, std::size_t bytes);
void to_host_bytes(CudaDevice, const void* from, void* to, std::size_t bytes);

template <class T>
void fill(CudaDevice device, T* data, std::int64_t count, T value) {
  fill_bytes(device, data, &value, sizeof(T), count);
}
template <class T>
void copy(CudaDevice device, const T* from, T* to, std::int64_t count) {
  copy_bytes(device, from, to, static_cast<std::size_t>(count) * sizeof(T));
}
template <class T>
void from_host(CudaDevice device, const T* from, T* to, std::int64_t count) {
  from_host_bytes(device, from, to, static_cast<std::size_t>(count) * sizeof(T));
}
template <class T>
void to_host(CudaDevice device, const T* from, T* to, std::int64_t count) {
  to_host_bytes(device, from, to, static_cast<std::size_t>(count) * sizeof(T));
}

}  // namespace retort::memory
