#pragma once

#include <string>
#include <vector>

#include "retort/kernels/cuda.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort {

/// A weight of a model with its gradient. Copying a parameter copies the weight (the copy is independent) and
/// leaves the gradient behind; moving moves both.
template <Backend B>
struct Parameter {
  std::string name;   ///< full path in the model, e.g. `decoder.block.0.attention.o`; unique within the model
  TensorOf<B> value;  ///< the weight
  bool trainable = true;  ///< false: no gradient is computed, optimizers leave it alone
  bool decay = true;      ///< whether weight decay applies (matrices: yes; gains, biases: no)

  // The gradient is the tape's to write, also through a const model: a forward pass does not change the
  // model.
  mutable TensorOf<B> grad;       ///< same shape as `value`; memory with meaning only while `has_grad`
  mutable bool has_grad = false;  ///< false: the next contribution overwrites `grad`
  mutable int open_losses = 0;    ///< losses that wrote to `grad` in their forward pass and await `backward`

  // Not inlined: a model has dozens, which would make it slow to compile.
  Parameter() = default;
  [[gnu::noinline]] Parameter(std::string full_name, const Shape& shape)
      : name(std::move(full_name)), value(shape) {}
  Parameter(const Parameter& other)
      : name(other.name), value(other.value.clone()), trainable(other.trainable), decay(other.decay) {}
  [[gnu::noinline]] Parameter(Parameter&&) noexcept = default;
  [[gnu::noinline]] ~Parameter() = default;
  Parameter& operator=(const Parameter& other) { return *this = Parameter(other); }
  Parameter& operator=(Parameter&&) noexcept = default;

  [[nodiscard]] const Shape& shape() const { return value.shape(); }

  /// Forgets the gradient: the next backward pass overwrites it. Costs nothing.
  void clear_grad() const {
    has_grad = false;
    open_losses = 0;
  }

  /// Where a kernel may write a contribution to the gradient now, and whether it must add.
  [[nodiscard]] Write open_grad() const {
    if (!grad) grad = TensorOf<B>(value.shape());
    const Write write = has_grad ? Write::accumulate : Write::overwrite;
    has_grad = true;
    return write;
  }
};

/// Pointers to the parameters of a model, in a fixed order.
template <Backend B>
using ParameterList = std::vector<Parameter<B>*>;

/// Anything with `each_parameter(f)`, f called with a `Parameter<B>&`.
template <class M>
[[nodiscard]] auto parameters(M& module) {
  ParameterList<typename M::Backend> list;
  module.each_parameter([&](Parameter<typename M::Backend>& p) { list.push_back(&p); });
  return list;
}

/// Number of weights.
template <Backend B>
[[nodiscard]] Index parameter_count(const ParameterList<B>& list) {
  Index n = 0;
  for (const auto* p : list) n += p->value.size();
  return n;
}

template <Backend B>
void clear_gradients(const ParameterList<B>& list) {
  for (const auto* p : list) p->clear_grad();
}

/// Copies the weights of one model into another of the same structure; names and shapes must agree
/// (ShapeError, before anything is changed).
template <Backend B>
void copy_parameters(const ParameterList<B>& from, const ParameterList<B>& to) {
  if (from.size() != to.size())
    fail<ShapeError>("copy_parameters", "{} parameters given for {}", from.size(), to.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i]->name != to[i]->name)
      fail<ShapeError>("copy_parameters", "parameter {} given for {}", from[i]->name, to[i]->name);
    require_shape("copy_parameters", to[i]->name.c_str(), from[i]->shape(), to[i]->shape());
  }
  for (std::size_t i = 0; i < from.size(); ++i)
    memory::copy(typename B::Device{}, std::as_const(from[i]->value).data(), to[i]->value.data(),
                 to[i]->value.size());
}

}  // namespace retort
