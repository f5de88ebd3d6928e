#pragma once

#include <atomic>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "retort/core/shape.hpp"
#include "retort/tensor/device.hpp"
#include "retort/tensor/memory.hpp"
#include "retort/tensor/pool.hpp"

namespace retort {

/// Counted handle of one pool block. Copies share the block; the last one gives it back.
template <class Device>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes) {
    std::size_t capacity = 0;
    void* block = Pool<Device>::instance().allocate(bytes, capacity);
    control_ = new Control{{1}, capacity, block};
  }
  Buffer(const Buffer& other) noexcept : control_(other.control_) {
    if (control_) control_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  Buffer(Buffer&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(control_, other.control_);
    return *this;
  }
  ~Buffer() {
    if (control_ && control_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      Pool<Device>::instance().release(control_->block, control_->capacity);
      delete control_;
    }
  }

  [[nodiscard]] void* data() const { return control_ ? control_->block : nullptr; }
  [[nodiscard]] bool unique() const {
    return control_ && control_->owners.load(std::memory_order_acquire) == 1;
  }
  [[nodiscard]] explicit operator bool() const { return control_ != nullptr; }

 private:
  // Lives on the host whatever the device is.
  struct Control {
    std::atomic<std::int64_t> owners;
    std::size_t capacity;
    void* block;
  };
  Control* control_ = nullptr;
};

/// Contiguous row-major array of `T` on `Device`. A tensor is a handle: copies and views share the memory;
/// `clone()` copies it. A default-constructed tensor is undefined (`!tensor`) and has no memory.
template <Element T, class Dev>
class Tensor {
 public:
  using Scalar = T;
  using Device = Dev;

  Tensor() = default;

  /// Memory with arbitrary content.
  explicit Tensor(const Shape& shape)
      : shape_(shape),
        buffer_(static_cast<std::size_t>(shape.size()) * sizeof(T)),
        data_(static_cast<T*>(buffer_.data())) {}

  /// Every element equal to `value`.
  [[nodiscard]] static Tensor full(const Shape& shape, T value) {
    Tensor t(shape);
    memory::fill(Dev{}, t.data(), t.size(), value);
    return t;
  }
  [[nodiscard]] static Tensor zeros(const Shape& shape) { return full(shape, T(0)); }

  /// A copy of host values, in row-major order; their number must fit the shape.
  [[nodiscard]] static Tensor from(const Shape& shape, std::span<const T> values) {
    if (shape.size() != static_cast<Index>(values.size()))
      fail<ShapeError>("tensor", "{} values given for shape {}", values.size(), shape.str());
    Tensor t(shape);
    memory::from_host(Dev{}, values.data(), t.data(), t.size());
    return t;
  }
  [[nodiscard]] static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }

  [[nodiscard]] explicit operator bool() const { return static_cast<bool>(buffer_); }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] int rank() const { return shape_.rank(); }
  [[nodiscard]] Index size() const { return buffer_ ? shape_.size() : 0; }
  [[nodiscard]] Index rows() const { return shape_.rows(); }
  [[nodiscard]] Index last() const { return shape_.last(); }
  [[nodiscard]] T* data() { return data_; }
  [[nodiscard]] const T* data() const { return data_; }
  /// The elements where they are, on a device whose memory the host reads.
  [[nodiscard]] std::span<T> span() requires std::same_as<Dev, CpuDevice> {
    return {data_, static_cast<std::size_t>(size())};
  }
  [[nodiscard]] std::span<const T> span() const requires std::same_as<Dev, CpuDevice> {
    return {data_, static_cast<std::size_t>(size())};
  }

  /// The elements, copied to the host in row-major order.
  [[nodiscard]] std::vector<T> to_host() const {
    std::vector<T> values(static_cast<std::size_t>(size()));
    memory::to_host(Dev{}, data_, values.data(), size());
    return values;
  }

  /// The value of a tensor of one element.
  [[nodiscard]] T item() const {
    if (size() != 1) fail<ShapeError>("item", "tensor has shape {}, expected one element", shape_.str());
    return to_host()[0];
  }

  /// The same elements under another shape of the same size. Shares the memory.
  [[nodiscard]] Tensor reshape(const Shape& shape) const {
    if (shape.size() != size())
      fail<ShapeError>("reshape", "{} has {} elements, {} has {}", shape_.str(), size(), shape.str(),
                       shape.size());
    Tensor t = *this;
    t.shape_ = shape;
    return t;
  }

  /// Elements [begin, end) of the first dimension. Shares the memory.
  [[nodiscard]] Tensor slice(Index begin, Index end) const {
    if (rank() == 0 || begin < 0 || end < begin || end > shape_[0])
      fail<ShapeError>("slice", "[{}, {}) of the first dimension of shape {}", begin, end, shape_.str());
    Tensor t = *this;
    t.data_ += begin * (shape_[0] == 0 ? 0 : shape_.size() / shape_[0]);
    t.shape_ = shape_.with(0, end - begin);
    return t;
  }

  /// A copy with memory of its own.
  [[nodiscard]] Tensor clone() const {
    if (!*this) return {};
    Tensor t(shape_);
    memory::copy(Dev{}, data_, t.data_, size());
    return t;
  }

  /// True when no other tensor or view shares the memory.
  [[nodiscard]] bool unique() const { return buffer_.unique(); }

 private:
  Shape shape_;
  Buffer<Dev> buffer_;
  T* data_ = nullptr;
};

/// A backend's tensor of numbers.
template <Backend B>
using TensorOf = Tensor<typename B::Scalar, typename B::Device>;

/// A backend's tensor of statistics: norms of rows, weights of losses, log-probabilities.
template <Backend B>
using StatisticTensor = Tensor<StatisticOf<B>, typename B::Device>;

/// A backend's tensor of indices or token ids.
template <Backend B>
using IndexTensor = Tensor<std::int32_t, typename B::Device>;

}  // namespace retort
