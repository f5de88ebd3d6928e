#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "retort/autograd/parameter.hpp"
#include "retort/core/functors.hpp"
#include "retort/kernels/cpu/map.hpp"

namespace retort {

template <Backend B>
class Tape;

/// A value in a computation. With a tape it remembers which node made it; without one it is just a tensor,
/// and the ops applied to it record nothing.
template <Backend B>
class Variable {
 public:
  Variable() = default;
  explicit Variable(TensorOf<B> value) : value_(std::move(value)) {}

  [[nodiscard]] const TensorOf<B>& value() const { return value_; }
  [[nodiscard]] const Shape& shape() const { return value_.shape(); }
  [[nodiscard]] typename B::Scalar item() const { return value_.item(); }
  [[nodiscard]] const typename B::Scalar* data() const { return value_.data(); }

  /// Whether a gradient flows to this variable.
  [[nodiscard]] bool requires_grad() const { return tape_ != nullptr; }
  [[nodiscard]] Tape<B>* tape() const { return tape_; }

  /// Whether both are one node of a tape or, without a tape, the same memory: their gradients are then one.
  [[nodiscard]] bool same_as(const Variable& other) const {
    return tape_ == other.tape_ && node_ == other.node_ && pass_ == other.pass_ && data() == other.data() &&
           shape() == other.shape();
  }

 private:
  friend class Tape<B>;
  TensorOf<B> value_;
  Tape<B>* tape_ = nullptr;
  std::int32_t node_ = -1;
  std::int32_t pass_ = 0;  // which pass of the tape the node belongs to
};

/// Where an op's backward writes its contribution to an input's gradient. False when the input wants none.
template <Backend B>
struct GradientTarget {
  typename B::Scalar* data = nullptr;
  Write write = Write::overwrite;
  [[nodiscard]] explicit operator bool() const { return data != nullptr; }
};

/// The record of one forward pass. `backward` walks it in reverse with a loop (no recursion, whatever the
/// depth), and gives every buffer back as it passes. The first contribution to a gradient overwrites its
/// buffer, later ones add. A tape may be used again after `backward`; the first op recorded then starts a new
/// pass.
template <Backend B>
class Tape {
 public:
  using T = typename B::Scalar;

  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { clear(); }

  /// Diagnosis: every recorded value and every gradient is checked, and the first one with a NaN or an
  /// infinity throws NumericError with the name of the op that made it. Slow; for a second look at a step
  /// that went wrong.
  bool check_finite = false;

  /// A variable whose gradient is wanted and read with `gradient` after `backward`.
  [[nodiscard]] Variable<B> leaf(TensorOf<B> value) {
    begin_recording();
    return attach(Node{.op = "leaf", .shape = value.shape()}, std::move(value));
  }

  /// A parameter as a variable; its gradient goes to `parameter.grad`.
  [[nodiscard]] Variable<B> leaf(const Parameter<B>& parameter) {
    begin_recording();
    return attach(Node{.op = "parameter", .shape = parameter.shape(), .parameter = &parameter},
                  parameter.value);
  }

  /// Appends an op. `backward(gradient of value)` is called once, if a gradient arrives, and writes to the
  /// inputs' gradients through `gradient_target`, `pass_gradient`. It owns what it captured until then.
  template <class Backward>
  [[nodiscard]] Variable<B> record(const char* op, TensorOf<B> value, Backward backward) {
    static_assert(sizeof(Backward) <= 4096, "capture handles in a backward function, not data");
    static_assert(alignof(Backward) <= alignof(std::max_align_t));
    begin_recording();
    if (check_finite && !kernels::all_finite(typename B::Device{}, std::as_const(value).data(), value.size()))
      fail<NumericError>(op, "the first value that is not finite came out of this op, shape {}{}",
                         value.shape(), describe_neighbours());
    Node node{.op = op, .shape = value.shape()};
    void* place = arena_.allocate(sizeof(Backward), alignof(Backward));
    node.closure = new (place) Backward(std::move(backward));
    node.call = [](void* f, const TensorOf<B>& gradient) { (*static_cast<Backward*>(f))(gradient); };
    node.destroy = [](void* f) { static_cast<Backward*>(f)->~Backward(); };
    return attach(std::move(node), std::move(value));
  }

  /// Propagates from a scalar: afterwards parameters and leaves hold d(seed * loss).
  void backward(const Variable<B>& loss, StatisticOf<B> seed = 1) {
    if (loss.shape().size() != 1)
      fail<ShapeError>("backward", "loss has shape {}, expected a scalar", loss.shape());
    backward(loss, TensorOf<B>::full(loss.shape(), static_cast<T>(seed)));
  }

  /// Propagates from `output` with the upstream gradient `gradient` of the same shape.
  void backward(const Variable<B>& output, TensorOf<B> gradient) {
    require_current(output, "backward");
    if (finished_) fail<ValueError>("backward", "this pass has been propagated already");
    require_shape("backward", "gradient", gradient.shape(), output.shape());
    finished_ = true;
    if (Node& node = nodes_[index(output)]; node.closure == nullptr)
      pass_gradient(output, gradient);
    else
      node.gradient = std::move(gradient);
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      Node& node = nodes_[i];
      if (node.closure == nullptr) continue;
      if (node.gradient) {
        const TensorOf<B> upstream = std::move(node.gradient);
        node.gradient = {};
        if (check_finite && !kernels::all_finite(typename B::Device{}, upstream.data(), upstream.size()))
          fail<NumericError>(node.op, "the gradient of this op's output, shape {}, is not finite",
                             node.shape);
        node.call(node.closure, upstream);
      }
      node.release();
    }
  }

  /// The gradient of a `leaf` after `backward`; undefined if none arrived.
  [[nodiscard]] TensorOf<B> gradient(const Variable<B>& leaf) const {
    require_current(leaf, "gradient");
    return nodes_[index(leaf)].gradient;
  }

  /// Forgets everything recorded.
  void clear() {
    for (std::size_t i = nodes_.size(); i-- > 0;) nodes_[i].release();
    nodes_.clear();
    arena_.reset();
    finished_ = false;
    ++pass_;
  }

  /// Number of recorded nodes.
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }

  /// For backward functions: the buffer of an input's gradient. With `zeroed`, the first touch fills it with
  /// zeros and the caller always accumulates (scatter-like gradients that do not cover the buffer).
  [[nodiscard]] GradientTarget<B> target(const Variable<B>& input, bool zeroed) {
    Node& node = nodes_[index(input)];
    if (node.parameter != nullptr) {
      Write write = node.parameter->open_grad();
      auto& grad = node.parameter->grad;
      if (zeroed && write == Write::overwrite) fill_zero(grad);
      return {grad.data(), zeroed ? Write::accumulate : write};
    }
    if (!node.gradient) {
      node.gradient = TensorOf<B>(node.shape);
      if (zeroed) fill_zero(node.gradient);
      return {node.gradient.data(), zeroed ? Write::accumulate : Write::overwrite};
    }
    if (!node.gradient.unique()) node.gradient = node.gradient.clone();  // somebody else reads this buffer
    return {node.gradient.data(), Write::accumulate};
  }

  /// For backward functions: adds `gradient` to an input's gradient; the first touch shares the buffer.
  void pass_gradient(const Variable<B>& input, const TensorOf<B>& gradient) {
    Node& node = nodes_[index(input)];
    if (node.parameter == nullptr && !node.gradient) {
      node.gradient = gradient.reshape(node.shape);
      return;
    }
    const auto to = target(input, false);
    kernels::map(typename B::Device{}, to.write, gradient.size(), functors::Identity{}, to.data,
                 gradient.data());
  }

  /// Throws unless the variable belongs to this tape's present pass, which may have been propagated.
  void require_current(const Variable<B>& v, const char* op) const {
    if (v.tape_ != this || v.pass_ != pass_)
      fail<ValueError>(op, "variable of shape {} was not made by this pass of this tape", v.shape());
  }

  /// Throws unless ops may still be applied to the variable.
  void require_open(const Variable<B>& v, const char* op) const {
    require_current(v, op);
    if (finished_)
      fail<ValueError>(op, "variable of shape {} is of a pass that has been propagated already", v.shape());
  }

 private:
  struct Node {
    const char* op;
    Shape shape;
    const Parameter<B>* parameter = nullptr;
    TensorOf<B> gradient{};
    void* closure = nullptr;
    void (*call)(void*, const TensorOf<B>&) = nullptr;
    void (*destroy)(void*) = nullptr;

    void release() {
      if (closure != nullptr) destroy(std::exchange(closure, nullptr));
    }
  };

  /// Bump allocator for backward functions; its chunks are kept from pass to pass.
  class Arena {
   public:
    void* allocate(std::size_t bytes, std::size_t alignment) {
      used_ = (used_ + alignment - 1) / alignment * alignment;
      if (chunk_ == chunks_.size() || used_ + bytes > chunk_bytes) {
        if (chunk_ < chunks_.size()) ++chunk_;
        if (chunk_ == chunks_.size()) chunks_.push_back(std::make_unique<std::byte[]>(chunk_bytes));
        used_ = 0;
      }
      void* place = chunks_[chunk_].get() + used_;
      used_ += bytes;
      return place;
    }
    void reset() { chunk_ = used_ = 0; }

   private:
    static constexpr std::size_t chunk_bytes = 64 * 1024;
    std::vector<std::unique_ptr<std::byte[]>> chunks_;
    std::size_t chunk_ = 0, used_ = 0;
  };

  std::vector<Node> nodes_;
  Arena arena_;
  bool finished_ = false;
  std::int32_t pass_ = 0;

  static std::size_t index(const Variable<B>& v) { return static_cast<std::size_t>(v.node_); }

  static void fill_zero(TensorOf<B>& t) { memory::fill(typename B::Device{}, t.data(), t.size(), T(0)); }

  void begin_recording() {
    if (finished_) clear();
  }

  Variable<B> attach(Node node, TensorOf<B> value) {
    nodes_.push_back(std::move(node));
    Variable<B> v(std::move(value));
    v.tape_ = this;
    v.node_ = static_cast<std::int32_t>(nodes_.size()) - 1;
    v.pass_ = pass_;
    return v;
  }

  /// The parameters used last, to tell a reader where in the model an op stands.
  [[nodiscard]] std::string describe_neighbours() const {
    for (std::size_t i = nodes_.size(); i-- > 0;)
      if (nodes_[i].parameter != nullptr) return "; the parameter used last was " + nodes_[i].parameter->name;
    return "";
  }
};

/// Records an op on the tape of its inputs, if any of them has one. All must have the same.
template <Backend B, class Backward, class... Inputs>
[[nodiscard]] Variable<B> record(const char* op, TensorOf<B> value, Backward backward,
                                 const Variable<B>& first, const Inputs&... rest) {
  Tape<B>* tape = nullptr;
  const auto join = [&](const Variable<B>& v) {
    if (!v.requires_grad()) return;
    if (tape == nullptr) tape = v.tape();
    tape->require_open(v, op);
  };
  join(first);
  (join(rest), ...);
  if (tape == nullptr) return Variable<B>(std::move(value));
  return tape->record(op, std::move(value), std::move(backward));
}

/// For backward functions: where to write the contribution to `input`'s gradient; false if it wants none.
template <Backend B>
[[nodiscard]] GradientTarget<B> gradient_target(const Variable<B>& input) {
  return input.requires_grad() ? input.tape()->target(input, false) : GradientTarget<B>{};
}

/// The same for gradients that cover only part of the buffer: it is zeroed on first touch, always accumulate.
template <Backend B>
[[nodiscard]] GradientTarget<B> zeroed_gradient_target(const Variable<B>& input) {
  return input.requires_grad() ? input.tape()->target(input, true) : GradientTarget<B>{};
}

/// For backward functions: the gradient of `input` grows by `gradient`, without a copy if it is the first.
template <Backend B>
void pass_gradient(const Variable<B>& input, const TensorOf<B>& gradient) {
  if (input.requires_grad()) input.tape()->pass_gradient(input, gradient);
}

}  // namespace retort
