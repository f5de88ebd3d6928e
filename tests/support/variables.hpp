#pragma once

#include <algorithm>
#include <vector>

#include "numbers.hpp"
#include "retort/autograd/context.hpp"

/// Tensors and shorthands for tests of autograd and ops. Gradients are checked in double.
namespace retort::test {

using Double = Cpu<double>;
using Float = Cpu<float>;

/// A tensor of standard normal numbers times `deviation`.
template <Backend B = Double>
TensorOf<B> normal_tensor(const Shape& shape, std::uint64_t stream, double deviation = 1) {
  return TensorOf<B>::from(shape, normals<typename B::Scalar>(shape.size(), stream, deviation));
}

/// The same with no number nearer to 0 than `gap`: for functions with a corner there.
inline TensorOf<Double> tensor_away_from_0(const Shape& shape, std::uint64_t stream, double gap = 0.05) {
  auto t = normal_tensor(shape, stream);
  for (double& x : t.span()) x += x < 0 ? -gap : gap;
  return t;
}

/// A parameter with standard normal numbers.
template <Backend B = Double>
Parameter<B> normal_parameter(const char* name, const Shape& shape, std::uint64_t stream) {
  Parameter<B> p(name, shape);
  p.value = normal_tensor<B>(shape, stream);
  return p;
}

template <Backend B = Double>
IndexTensor<B> index_tensor(const std::vector<std::int32_t>& values) {
  return IndexTensor<B>::from({static_cast<Index>(values.size())}, values);
}

/// Elements of a tensor; none if it is undefined.
template <class T, class D>
std::vector<T> values(const Tensor<T, D>& t) {
  return t.to_host();
}

/// Bytes that the pool has handed out.
inline std::size_t bytes_in_use() {
  return Pool<CpuDevice>::instance().statistics().in_use;
}

/// Fills the pool's free blocks of the sizes that a test of small tensors uses with NaN, so that a gradient
/// that reads memory it should overwrite shows.
inline void poison_pool() {
  std::vector<Tensor<double, CpuDevice>> blocks;
  for (Index n = 1; n <= 4096; n *= 2)
    for (int i = 0; i < 16; ++i) blocks.push_back(Tensor<double, CpuDevice>::full({n}, std::nan("")));
}

}  // namespace retort::test
