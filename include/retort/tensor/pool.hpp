#pragma once

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/tensor/device.hpp"

namespace retort {

/// What a pool holds, in bytes.
struct PoolStatistics {
  std::size_t in_use = 0;                ///< handed out now
  std::size_t cached = 0;                ///< given back and kept for the next request
  std::size_t peak_in_use = 0;           ///< largest `in_use` so far
  std::uint64_t system_allocations = 0;  ///< requests that the cache could not answer
};

/// Caching allocator of one device: freed blocks are kept and handed out again, so that after the first few
/// equal training steps the system allocator is not called. Sizes are rounded up to one of eight classes an
/// octave; a request takes the smallest cached block that is less than a quarter too large. The pool holds at
/// most a quarter and 64 MiB more than was ever in use at a time. Thread-safe.
template <class Device>
class Pool;

template <>
class Pool<CpuDevice> {
 public:
  /// The process's pool for this device (memory belongs to the device, not to a tensor library's user).
  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: tensors with static storage may outlive it
    return *pool;
  }

  /// A block of at least `bytes`, aligned to 64. `capacity` receives its true size, to be handed to
  /// `release`.
  void* allocate(std::size_t bytes, std::size_t& capacity) {
    const std::lock_guard lock(mutex_);
    const std::size_t wanted = round_up(bytes);
    if (auto found = free_.lower_bound(wanted); found != free_.end() && found->first <= wanted + wanted / 4) {
      capacity = found->first;
      void* block = found->second.back();
      found->second.pop_back();
      if (found->second.empty()) free_.erase(found);
      statistics_.cached -= capacity;
      return hand_out(block, bytes, capacity);
    }
    // Much more than was ever in use at a time: the cache holds sizes that nobody asks for any more.
    if (statistics_.cached + statistics_.in_use + wanted > most_in_use_ / 4 * 5 + (std::size_t{64} << 20))
      trim_locked();
    ++statistics_.system_allocations;
    capacity = wanted;
    void* block = from_system(wanted);
    if (block == nullptr) {
      trim_locked();
      block = from_system(wanted);
    }
    if (block == nullptr)
      fail<DeviceError>("allocate", "{} bytes are not to be had on the cpu: {} in use, {} cached", wanted,
                        statistics_.in_use, statistics_.cached);
    return hand_out(block, bytes, capacity);
  }

  void release(void* block, std::size_t capacity) noexcept {
    const std::lock_guard lock(mutex_);
    forbid(block, capacity);
    statistics_.in_use -= capacity;
    statistics_.cached += capacity;
    free_[capacity].push_back(block);
  }

  /// Gives all cached blocks back to the system.
  void trim() {
    const std::lock_guard lock(mutex_);
    trim_locked();
  }

  [[nodiscard]] PoolStatistics statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

  /// Starts a new measurement of `peak_in_use`.
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    statistics_.peak_in_use = statistics_.in_use;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;  // capacity -> blocks
  PoolStatistics statistics_;
  std::size_t most_in_use_ = 0;  // never reset

  static std::size_t round_up(std::size_t bytes) {
    constexpr std::size_t smallest = 64, page = 4096;
    if (bytes <= smallest) return smallest;
    const std::size_t step = std::max<std::size_t>(smallest, std::bit_floor(bytes) / 8);
    const std::size_t granule = std::min<std::size_t>(step, std::size_t{1} << 20);
    const std::size_t rounded = (bytes + granule - 1) / granule * granule;
    return rounded < page ? rounded : (rounded + page - 1) / page * page;
  }

  static void* from_system(std::size_t bytes) {
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    const bool large = bytes >= 2 * huge_page;
    void* block = std::aligned_alloc(large ? huge_page : 64,
                                     large ? (bytes + huge_page - 1) / huge_page * huge_page : bytes);
#if defined(MADV_HUGEPAGE)
    if (large && block != nullptr) madvise(block, bytes, MADV_HUGEPAGE);
#endif
    return block;
  }

  void* hand_out(void* block, std::size_t bytes, std::size_t capacity) {
    forbid(block, capacity);
    permit(block, bytes);
    statistics_.in_use += capacity;
    statistics_.peak_in_use = std::max(statistics_.peak_in_use, statistics_.in_use);
    most_in_use_ = std::max(most_in_use_, statistics_.in_use);
    return block;
  }

  // The address sanitizer then sees what goes wrong inside a block: use after release, use beyond the end.
  static void forbid([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(block, bytes);
#endif
  }
  static void permit([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
#endif
  }

  void trim_locked() {
    for (auto& [capacity, blocks] : free_)
      for (void* block : blocks) {
        permit(block, capacity);
        std::free(block);
      }
    free_.clear();
    statistics_.cached = 0;
  }
};

}  // namespace retort
