#pragma once

#include <string_view>

#include "retort/autograd/parameter.hpp"
#include "retort/core/philox.hpp"
#include "retort/kernels/cpu/random.hpp"
#include "retort/kernels/cuda.hpp"

namespace retort {

/// A key for a parameter's initial values from its name, so that they do not depend on the order of
/// construction.
[[nodiscard]] inline RandomKey key_for(RandomKey key, std::string_view name) {
  std::uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return key.fork(hash);
}

/// Values from N(0, deviation^2), by `key` and the parameter's name.
template <Backend B>
void init_normal(Parameter<B>& p, RandomKey key, double deviation) {
  using S = StatisticOf<B>;
  kernels::fill_normal(typename B::Device{}, key_for(key, p.name), p.value.size(), S(0),
                       static_cast<S>(deviation), p.value.data());
}

/// Every value equal to `value`.
template <Backend B>
void init_constant(Parameter<B>& p, double value) {
  memory::fill(typename B::Device{}, p.value.data(), p.value.size(), static_cast<typename B::Scalar>(value));
}

}  // namespace retort
