#pragma once

#include <cstdint>
#include <utility>

namespace retort::executor {

/// SplitMix64 (Steele, Lea, Flood 2014): the thread orders need to be cheap and different, no more.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  bool coin() { return next() >> 63 != 0; }

  /// One of 0 .. n - 1, n > 0.
  std::uint64_t below(std::uint64_t n) { return n >> 32 ? next() % n : ((next() >> 32) * n) >> 32; }

  template <class T>
  void shuffle(T* values, std::size_t count) {
    for (std::size_t i = count; i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  std::uint64_t state_;
};

/// One of 512 orders of the 32 lanes of a warp, from one draw: i -> (odd i + shift) mod 32.
class LaneOrder {
 public:
  explicit LaneOrder(Random& random) {
    const std::uint64_t bits = random.next();
    odd_ = static_cast<unsigned>(bits >> 40) | 1u;
    shift_ = static_cast<unsigned>(bits >> 59);
  }
  unsigned operator()(unsigned i) const { return (odd_ * i + shift_) & 31u; }

 private:
  unsigned odd_, shift_;
};

}  // namespace retort::executor
