#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace retort::executor {

/// A block's shared memory. What it gives out is full of 0xFF (NaN as a float, -1 as an int), and under the
/// address sanitizer nothing but what has been given out may be touched.
class SharedMemory {
 public:
  static constexpr std::size_t most_static = 48 * 1024;  ///< bytes a block may declare
  static constexpr std::size_t most = 227 * 1024;  ///< bytes a block may have, on compute capability 9.0

  SharedMemory() : memory_(static_cast<std::byte*>(::operator new(size, alignment))) {}
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() {
    permit(memory_, size);
    ::operator delete(memory_, alignment);
  }

  /// Takes everything back and gives `bytes` <= most of dynamic memory out.
  void begin_block(std::size_t bytes) {
    dynamic_bytes_ = bytes;
    static_bytes_ = used_ = 0;
    forbid(memory_, size);
    permit(memory_, bytes);
    std::memset(memory_, 0xff, bytes);
  }

  void* dynamic() const { return memory_; }
  std::size_t dynamic_bytes() const { return dynamic_bytes_; }
  std::size_t static_bytes() const { return static_bytes_; }

  /// Memory for one more declared array, or nullptr if the block has had its share.
  void* declare(std::size_t bytes) {
    const std::size_t room = (bytes + 15) / 16 * 16 + gap;
    if (static_bytes_ + bytes > most_static || dynamic_bytes_ + static_bytes_ + bytes > most ||
        used_ + room > static_room)
      return nullptr;
    std::byte* const place = memory_ + most + gap + used_;
    static_bytes_ += bytes;
    used_ += room;
    permit(place, bytes);
    std::memset(place, 0xff, bytes);
    return place;
  }

 private:
  static constexpr std::size_t gap = 64, static_room = 2 * most_static, size = most + gap + static_room;
  static constexpr std::align_val_t alignment{128};

  static void forbid([[maybe_unused]] const std::byte* place, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(place, bytes);
#endif
  }
  static void permit([[maybe_unused]] const std::byte* place, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(place, bytes);
#endif
  }

  std::byte* memory_;
  std::size_t dynamic_bytes_ = 0, static_bytes_ = 0, used_ = 0;
};

}  // namespace retort::executor
