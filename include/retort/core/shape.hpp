#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "retort/core/error.hpp"
#include "retort/core/scalar.hpp"

namespace retort {

/// Dimensions of a contiguous row-major tensor, outermost first. Rank 0 to 5, stored inline. Rank 0 is a
/// scalar.
class Shape {
 public:
  static constexpr int max_rank = 5;

  Shape() = default;
  Shape(std::initializer_list<Index> dimensions) {
    if (dimensions.size() > max_rank)
      fail<ShapeError>("shape", "given {} dimensions, at most {} are supported", dimensions.size(), max_rank);
    for (const Index d : dimensions) append(d);
  }

  [[nodiscard]] int rank() const { return rank_; }

  /// Size of dimension `axis`; negative axes count from the end (-1 is the last).
  [[nodiscard]] Index operator[](int axis) const { return dimensions_[check(axis)]; }

  /// Number of elements (1 for a scalar).
  [[nodiscard]] Index size() const {
    Index n = 1;
    for (int i = 0; i < rank_; ++i) n *= dimensions_[i];
    return n;
  }

  /// All dimensions but the last, multiplied: the number of rows a row-wise kernel sees.
  [[nodiscard]] Index rows() const { return rank_ == 0 ? 1 : (last() == 0 ? 0 : size() / last()); }

  /// The last dimension (1 for a scalar).
  [[nodiscard]] Index last() const { return rank_ == 0 ? 1 : dimensions_[rank_ - 1]; }

  /// The same shape with dimension `axis` replaced by `size`.
  [[nodiscard]] Shape with(int axis, Index size) const {
    Shape s = *this;
    s.dimensions_[check(axis)] = size;
    s.require_valid(size);
    return s;
  }

  void append(Index size) {
    if (rank_ == max_rank) fail<ShapeError>("shape", "more than {} dimensions", max_rank);
    dimensions_[rank_++] = size;
    require_valid(size);
  }

  /// `(8, 40, 512)`, as messages show it.
  [[nodiscard]] std::string str() const {
    std::string s = "(";
    for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dimensions_[i]);
    return s + ")";
  }

  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<Index, max_rank> dimensions_{};
  int rank_ = 0;

  [[nodiscard]] std::size_t check(int axis) const {
    const int a = axis < 0 ? axis + rank_ : axis;
    if (a < 0 || a >= rank_) fail<ShapeError>("shape", "axis {} of a tensor of rank {}", axis, rank_);
    return static_cast<std::size_t>(a);
  }
  // Sizes in bytes must not overflow either.
  void require_valid(Index new_dimension) const {
    if (new_dimension < 0) fail<ShapeError>("shape", "negative dimension {}", new_dimension);
    double elements = 1;
    for (int i = 0; i < rank_; ++i) elements *= static_cast<double>(std::max<Index>(1, dimensions_[i]));
    if (elements > 1e17) fail<ShapeError>("shape", "{} has more elements than memory can hold", str());
  }
};

/// Throws ShapeError unless both shapes are equal: `[op] name has shape A, expected B`.
inline void require_shape(const char* op, const char* name, const Shape& given, const Shape& expected) {
  if (!(given == expected))
    fail<ShapeError>(op, "{} has shape {}, expected {}", name, given.str(), expected.str());
}

}  // namespace retort

template <>
struct fmt::formatter<retort::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  auto format(const retort::Shape& s, fmt::format_context& context) const {
    auto out = context.out();
    for (const char c : s.str()) *out++ = c;
    return out;
  }
};
