#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

/// The CUDA device as the rest of the library sees it: one device, one stream, errors as exceptions. No CUDA
/// header is needed to include this; the definitions are in runtime.cpp.
namespace retort::cuda {

/// Whether programs can use the CUDA device: "" if they can, else why not (no driver, no device, too old a
/// one).
[[nodiscard]] std::string why_unavailable();

/// Throws DeviceError with `why_unavailable()` unless there is a device.
void require_device();

/// `NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors, driver 13.0, runtime 13.0`.
[[nodiscard]] std::string describe_device();

/// Number of multiprocessors.
[[nodiscard]] int multiprocessors();

/// The stream on which everything happens, a cudaStream_t.
[[nodiscard]] void* stream();

/// Waits until all work given to the device is done, and throws what it complained about.
void synchronize();

/// Throws DeviceError, `[op] message of the CUDA error`, unless `error` is cudaSuccess.
void check(int error, const char* op);

/// Where kernels leave the first index outside its range that they see: five numbers in device memory.
struct IndexFault {
  std::int64_t happened, index, limit;
  const char *op, *what;  ///< the host's, for the message
};
[[nodiscard]] IndexFault* index_fault();

/// Memory of the pool for the length of a scope: what a kernel's launcher needs besides its arguments.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes);
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();

  template <class T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(block_);
  }

 private:
  std::size_t capacity_ = 0;  // before the block, whose allocation sets it
  void* block_;
};

/// Copies to the device in the order of the stream; `from` may be changed as soon as this returns.
void upload(const void* from, void* to, std::size_t bytes);
/// Copies from the device, after all that is in the stream, and throws what kernels complained about.
void download(const void* from, void* to, std::size_t bytes);

}  // namespace retort::cuda
