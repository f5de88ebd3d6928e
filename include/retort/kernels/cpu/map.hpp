#pragma once

#include <utility>
#include <vector>

#include "retort/core/functors.hpp"
#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

namespace retort::kernels {

/// out[i] = f(in[i]...) or out[i] += f(in[i]...) for i < count. `f` is a functor generic over its number.
/// `out` may be one of the inputs.
template <Real T, class F, std::same_as<T>... In>
void map(CpuDevice, Write write, Index count, F f, T* out, const In*... in) {
  using P = cpu::Pack<T>;
  const bool add = write == Write::accumulate;
  parallel_for(count, 32768, [&](Index begin, Index end) {
    Index i = begin;
    for (; i + P::size <= end; i += P::size) {
      const P value = f(P::load(in + i)...);
      (add ? P::load(out + i) + value : value).store(out + i);
    }
    if (const Index rest = end - i; rest > 0) {
      const P value = f(P::load(in + i, rest, T(1))...);
      (add ? P::load(out + i, rest) + value : value).store(out + i, rest);
    }
  });
}

/// Sum of f(x[i]) in double, in an order that does not depend on the number of threads.
template <Real T, class F>
double sum_of(CpuDevice, const T* x, Index count, F f) {
  constexpr Index block = 1 << 16;
  const Index blocks = (count + block - 1) / block;
  std::vector<double> parts(static_cast<std::size_t>(blocks));
  parallel_for(blocks, 2, [&](Index first, Index last) {
    for (Index b = first; b < last; ++b) {
      const T* from = x + b * block;
      parts[static_cast<std::size_t>(b)] = cpu::row_sum<T>(
          std::min(block, count - b * block), [&](Index i, Index n) { return f(cpu::load(from + i, n)); });
    }
  });
  double total = 0;
  for (const double p : parts) total += p;
  return total;
}

/// The sum of squares of each of some arrays, as sum_of adds it.
template <Real T>
std::vector<double> squared_norms(CpuDevice device, const std::vector<std::pair<const T*, Index>>& arrays) {
  std::vector<double> out;
  for (const auto& [x, count] : arrays) out.push_back(sum_of(device, x, count, functors::Square{}));
  return out;
}

/// Whether every element is finite.
template <Real T>
bool all_finite(CpuDevice, const T* x, Index count) {
  for (Index i = 0; i < count; ++i)
    if (!std::isfinite(x[i])) return false;
  return true;
}

/// to[i] = from[i] in another number type.
template <Real From, Real To>
void convert(CpuDevice, Index count, const From* from, To* to) {
  for (Index i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
}

}  // namespace retort::kernels
