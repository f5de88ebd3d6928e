#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/text/vocabulary.hpp"

namespace retort::detail {

/// The ids of words seen before. A table of fixed size (4 MB) in which a word has one possible place and a
/// later word replaces an earlier one: no growth, no lists to keep. Words of more than 30 bytes or 6 ids are
/// not kept.
class WordCache {
 public:
  static constexpr std::size_t slots = std::size_t{1} << 16, longest_word = 30, most_ids = 6;

  /// If the word is there: appends its ids and returns true.
  bool append(std::string_view word, std::vector<TokenId>& ids) const {
    if (word.size() > longest_word) return false;
    const Slot& slot = slots_[place(word)];
    if (slot.size != word.size() || std::memcmp(slot.word.data(), word.data(), word.size()) != 0)
      return false;
    ids.insert(ids.end(), slot.ids.begin(), slot.ids.begin() + slot.count);
    return true;
  }

  void keep(std::string_view word, std::span<const TokenId> ids) {
    if (word.empty() || word.size() > longest_word || ids.size() > most_ids) return;
    Slot& slot = slots_[place(word)];
    slot.size = static_cast<std::uint8_t>(word.size());
    slot.count = static_cast<std::uint8_t>(ids.size());
    std::ranges::copy(word, slot.word.begin());
    std::ranges::copy(ids, slot.ids.begin());
  }

 private:
  struct Slot {
    std::array<TokenId, most_ids> ids;
    std::array<char, longest_word> word;
    std::uint8_t size = 0;  // of the word; 0: free
    std::uint8_t count = 0;
  };
  static std::size_t place(std::string_view word) { return std::hash<std::string_view>{}(word) % slots; }

  std::vector<Slot> slots_ = std::vector<Slot>(slots);
};

/// Things of type `T` that threads take for the time of a call and give back: as many exist as calls ever ran
/// at once, and no thread waits for another's work.
template <class T>
class Leases {
 public:
  class Lease {
   public:
    explicit Lease(Leases& pool) : pool_(pool), held_(pool.take()) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { pool_.give(std::move(held_)); }
    T* operator->() { return held_.get(); }
    T& operator*() { return *held_; }

   private:
    Leases& pool_;
    std::unique_ptr<T> held_;
  };

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;

  std::unique_ptr<T> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        auto held = std::move(free_.back());
        free_.pop_back();
        return held;
      }
    }
    return std::make_unique<T>();
  }
  void give(std::unique_ptr<T> held) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(held));
  }
};

}  // namespace retort::detail
