#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace retort::detail {

/// A hash table from 64-bit keys to `Value`, open addressing with linear probing, at most half full: one
/// cache line a look-up, where std::unordered_map takes two or three. The key of all ones is reserved.
template <class Value>
class FlatMap {
 public:
  /// Inserts, or replaces the value of the key.
  void set(std::uint64_t key, Value value) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[place(key)];
    if (slot.key == empty) ++count_;
    slot = {key, value};
  }

  /// nullptr if there is none.
  [[nodiscard]] const Value* find(std::uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[place(key)];
    return slot.key == empty ? nullptr : &slot.value;
  }

  [[nodiscard]] std::size_t size() const { return count_; }

  /// Calls `f(key, value)` for every entry, in no particular order.
  template <class F>
  void for_each(F&& f) const {
    for (const Slot& slot : slots_)
      if (slot.key != empty) f(slot.key, slot.value);
  }

  bool operator==(const FlatMap& other) const {
    if (count_ != other.count_) return false;
    for (const Slot& slot : slots_)
      if (slot.key != empty) {
        const Value* theirs = other.find(slot.key);
        if (!theirs || !(*theirs == slot.value)) return false;
      }
    return true;
  }

 private:
  static constexpr std::uint64_t empty = std::numeric_limits<std::uint64_t>::max();
  struct Slot {
    std::uint64_t key = empty;
    Value value{};
  };
  std::vector<Slot> slots_;  // a power of two of them
  std::size_t count_ = 0;

  // Where the key is, or the free place where it belongs.
  [[nodiscard]] std::size_t place(std::uint64_t key) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = (key * 0x9E3779B97F4A7C15u) >> (64 - std::countr_zero(slots_.size()));
    while (slots_[i].key != key && slots_[i].key != empty) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : 2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.key != empty) slots_[place(slot.key)] = slot;
  }
};

}  // namespace retort::detail
