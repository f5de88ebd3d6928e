#pragma once

#include <algorithm>
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

}  // namespace retort::memory
