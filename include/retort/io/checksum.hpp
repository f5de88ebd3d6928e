#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace retort {

/// XXH64 (Collet, the xxHash specification, version 0.1.1) with seed 0, fed piece by piece: a 64-bit checksum
/// at the speed of memory. It finds accidents, not forgeries.
class Checksum {
 public:
  void update(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;  // memcpy must not see their null pointer
    total_ += bytes.size();
    if (held_ > 0) {
      const std::size_t taken = std::min(bytes.size(), block_.size() - held_);
      std::memcpy(block_.data() + held_, bytes.data(), taken);
      held_ += taken;
      bytes = bytes.subspan(taken);
      if (held_ < block_.size()) return;
      mix(block_.data());
      held_ = 0;
    }
    for (; bytes.size() >= block_.size(); bytes = bytes.subspan(block_.size())) mix(bytes.data());
    if (!bytes.empty()) std::memcpy(block_.data(), bytes.data(), held_ = bytes.size());
  }

  /// Of all bytes so far.
  [[nodiscard]] std::uint64_t value() const {
    std::uint64_t hash = prime5;
    if (total_ >= block_.size()) {
      hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
             std::rotl(lanes_[3], 18);
      for (const std::uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * prime1 + prime4;
    }
    hash += total_;
    std::size_t i = 0;
    for (; i + 8 <= held_; i += 8) {
      hash ^= round(0, read<std::uint64_t>(block_.data() + i));
      hash = std::rotl(hash, 27) * prime1 + prime4;
    }
    if (i + 4 <= held_) {
      hash ^= read<std::uint32_t>(block_.data() + i) * prime1;
      hash = std::rotl(hash, 23) * prime2 + prime3;
      i += 4;
    }
    for (; i < held_; ++i)
      hash = std::rotl(hash ^ (std::to_integer<std::uint64_t>(block_[i]) * prime5), 11) * prime1;
    hash = (hash ^ (hash >> 33)) * prime2;
    hash = (hash ^ (hash >> 29)) * prime3;
    return hash ^ (hash >> 32);
  }

 private:
  static constexpr std::uint64_t prime1 = 0x9E3779B185EBCA87, prime2 = 0xC2B2AE3D27D4EB4F,
                                 prime3 = 0x165667B19E3779F9, prime4 = 0x85EBCA77C2B2AE63,
                                 prime5 = 0x27D4EB2F165667C5;

  std::array<std::uint64_t, 4> lanes_ = {prime1 + prime2, prime2, 0, 0 - prime1};
  std::array<std::byte, 32> block_{};  // bytes that do not fill a block yet
  std::size_t held_ = 0;               // how many
  std::uint64_t total_ = 0;

  template <class Word>
  static std::uint64_t read(const std::byte* from) {
    static_assert(std::endian::native == std::endian::little);
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }
  static std::uint64_t round(std::uint64_t lane, std::uint64_t word) {
    return std::rotl(lane + word * prime2, 31) * prime1;
  }
  void mix(const std::byte* block) {
    for (std::size_t i = 0; i < 4; ++i) lanes_[i] = round(lanes_[i], read<std::uint64_t>(block + 8 * i));
  }
};

}  // namespace retort
