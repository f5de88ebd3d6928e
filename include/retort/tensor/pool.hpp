#pragma once

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/tensor/device.hpp"

namespace retort {

/// What a pool holds, in bytes.
struct PoolStatistics {
  std::size_t in_use = 0;                ///< handed out now
  std::size_t cached = 0;                ///< given back, still in memory, kept for the next request
  std::size_t peak_in_use = 0;           ///< largest `in_use` so far
  std::uint64_t system_allocations = 0;  ///< requests that took memory the pool had not touched before
};

/// Caching allocator of one device: what is given back is kept and handed out again, so that after the first
/// few training steps no memory comes from the system. Thread-safe.
template <class Device>
class Pool;

/// On the CPU: best fit with splitting and merging, in large mappings of which the system gives pages as they
/// are first touched. A block of any size is thus cut from what is free, and steps whose sizes vary need
/// hardly more memory than their largest. Should holes ever hold more than a quarter and 64 MiB beyond what
/// was in use at the peak, their pages go back to the system.
template <>
class Pool<CpuDevice> {
 public:
  /// The process's pool for this device (memory belongs to the device, not to a tensor library's user).
  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: tensors with static storage may outlive it
    return *pool;
  }

  /// A block of at least `bytes`, aligned to 64. `capacity` receives its true size, to be handed to
  /// `release`. Throws DeviceError if the machine has no such block.
  void* allocate(std::size_t bytes, std::size_t& capacity) {
    const std::lock_guard lock(mutex_);
    const std::size_t wanted = round_up(bytes);
    if (wanted < bytes) refuse(bytes);
    auto found = by_size_.lower_bound({wanted, nullptr});
    if (found == by_size_.end()) {
      if (!map_more(wanted)) refuse(bytes);
      found = by_size_.lower_bound({wanted, nullptr});
    }
    char* const begin = found->second;
    const Free block = take(begin);
    if (block.touched < wanted) {
      ++statistics_.system_allocations;
      const std::size_t fresh = wanted - block.touched;
      if (statistics_.cached + statistics_.in_use + fresh > most_in_use_ / 4 * 5 + (std::size_t{64} << 20))
        trim_locked();
    }
    // The touched part of a free block is taken to be at its front, where blocks are cut from.
    if (block.size > wanted)
      put(begin + wanted, {block.size - wanted, block.touched - std::min(block.touched, wanted)});
    capacity = wanted;
    permit(begin, bytes);
    statistics_.in_use += capacity;
    statistics_.peak_in_use = std::max(statistics_.peak_in_use, statistics_.in_use);
    most_in_use_ = std::max(most_in_use_, statistics_.in_use);
    return begin;
  }

  void release(void* block, std::size_t capacity) noexcept {
    const std::lock_guard lock(mutex_);
    forbid(block, capacity);
    statistics_.in_use -= capacity;
    auto* begin = static_cast<char*>(block);
    Free merged{capacity, capacity};
    if (auto after = by_place_.find(begin + capacity);
        after != by_place_.end() && !starts_mapping(after->first)) {
      const Free next = take(after->first);
      merged = {merged.size + next.size, merged.touched + next.touched};
    }
    if (auto before = by_place_.lower_bound(begin); before != by_place_.begin() && !starts_mapping(begin)) {
      --before;
      if (before->first + before->second.size == begin) {
        begin = before->first;
        const Free previous = take(begin);
        merged = {merged.size + previous.size, merged.touched + previous.touched};
      }
    }
    put(begin, merged);
  }

  /// Gives the pages of all that is free back to the system.
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
  struct Free {
    std::size_t size = 0;
    std::size_t touched = 0;  // bytes of it that are in memory
  };

  static constexpr std::size_t grain = 64, huge_page = std::size_t{2} << 20;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t guard =
      grain;  // between blocks, so that the sanitizer sees one run into the next
#else
  static constexpr std::size_t guard = 0;
#endif

  mutable std::mutex mutex_;
  std::map<char*, Free> by_place_;
  std::set<std::pair<std::size_t, char*>> by_size_;  // the same free blocks
  std::set<char*> mappings_;  // where each begins; blocks do not reach from one to the next
  PoolStatistics statistics_;
  std::size_t most_in_use_ = 0;  // never reset

  static std::size_t round_up(std::size_t bytes) {
    return (std::max<std::size_t>(bytes, 1) + guard + grain - 1) / grain * grain;
  }

  [[nodiscard]] bool starts_mapping(char* place) const {
    return mappings_.contains(place);
  }

  [[noreturn]] void refuse(std::size_t bytes) const {
    fail<DeviceError>("allocate", "{} bytes are not to be had on the cpu: {} in use, {} cached", bytes,
                      statistics_.in_use, statistics_.cached);
  }

  /// Removes the free block at `begin`.
  Free take(char* begin) {
    const auto entry = by_place_.find(begin);
    const Free block = entry->second;
    by_size_.erase({block.size, begin});
    by_place_.erase(entry);
    statistics_.cached -= block.touched;
    return block;
  }
  void put(char* begin, const Free& block) {
    by_place_.emplace(begin, block);
    by_size_.emplace(block.size, begin);
    statistics_.cached += block.touched;
  }

  /// Maps room for `wanted` bytes and for much more, which costs nothing until it is touched.
  bool map_more(std::size_t wanted) {
    constexpr std::size_t usual = std::size_t{1} << 30;
    const std::size_t exact = (wanted + huge_page - 1) / huge_page * huge_page;
    if (exact < wanted) return false;
    for (const std::size_t size : {std::max(exact, usual), exact}) {
      // A huge page more, so that the mapping can begin on one.
      void* const mapped =
          ::mmap(nullptr, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapped == MAP_FAILED) continue;
      auto* const begin = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(mapped) + huge_page - 1) /
                                                  huge_page * huge_page);
#if defined(MADV_HUGEPAGE)
      ::madvise(begin, size, MADV_HUGEPAGE);
#endif
      forbid(begin, size);
      mappings_.insert(begin);
      put(begin, {size, 0});
      return true;
    }
    return false;
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
    constexpr std::uintptr_t page = 4096;
    for (auto& [begin, block] : by_place_) {
      const auto first = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
      const auto last = (reinterpret_cast<std::uintptr_t>(begin) + block.size) / page * page;
      if (block.touched > 0 && first < last)
        ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
      block.touched = 0;
    }
    statistics_.cached = 0;
  }
};

/// On a GPU: blocks of the driver's memory, kept in lists by size class and handed out again, the lowest
/// address first: the same work then finds itself in the same memory (see cuda::as_graph). Everything runs on
/// one stream, so a block may be used again as soon as it is given back: what still reads it comes first in
/// the stream. Defined in kernels/cuda/runtime.cpp.
template <>
class Pool<CudaDevice> {
 public:
  static Pool& instance();

  /// A block of at least `bytes`, aligned to 256. Throws DeviceError if the device is absent or full, after
  /// what is cached was given back to the driver.
  void* allocate(std::size_t bytes, std::size_t& capacity);
  void release(void* block, std::size_t capacity) noexcept;
  /// Gives all that is free back to the driver, after waiting for the stream.
  void trim();
  [[nodiscard]] PoolStatistics statistics() const;
  void reset_peak();

 private:
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;  // by capacity; heaps, lowest address on top
  PoolStatistics statistics_;

  void trim_locked();
};

/// The pool of the one GPU.
template <>
class Pool<CudaTf32Device> {
 public:
  static Pool<CudaDevice>& instance() { return Pool<CudaDevice>::instance(); }
};

}  // namespace retort
