#pragma once

#include <limits>

#include "retort/kernels/cpu/pack.hpp"

/// Reductions over one contiguous row. Sums run in packs over blocks of 16 packs, and the blocks are added in
/// double: a float accumulator over a vocabulary would lose the fifth digit.
namespace retort::kernels::cpu {

/// Largest element; -inf for an empty row; NaN if an element is NaN.
template <Real T>
T row_max(const T* x, Index n) {
  using P = Pack<T>;
  const T lowest = -std::numeric_limits<T>::infinity();
  P high(lowest), poison(T(0));
  Index i = 0;
  for (; i + P::size <= n; i += P::size) {
    const P value = P::load(x + i);
    high = max(high, value);
    poison += value * P(T(0));  // NaN where the value is not finite
  }
  T result = high.highest();
  bool suspicious = poison.sum() != T(0);
  for (; i < n; ++i) {
    result = x[i] > result ? x[i] : result;
    suspicious = suspicious || x[i] != x[i];
  }
  if (suspicious)
    for (Index j = 0; j < n; ++j)
      if (x[j] != x[j]) return x[j];
  return result;
}

/// Sum over i < n of the lanes of f(i, count), a pack of the terms i to i + count; lanes beyond count do not
/// matter.
template <Real T, class F>
double row_sum(Index n, F f) {
  using P = Pack<T>;
  double total = 0;
  Index i = 0;
  const Index whole = n / P::size * P::size;
  while (i < whole) {
    const Index stop = std::min(whole, i + 16 * P::size);
    P part(T(0));
    for (; i < stop; i += P::size) part += f(i, P::size);
    total += static_cast<double>(part.sum());
  }
  if (i < n) {
    std::array<T, P::size> lanes;
    f(i, n - i).store(lanes.data());
    for (Index j = 0; j < n - i; ++j) total += static_cast<double>(lanes[static_cast<std::size_t>(j)]);
  }
  return total;
}

/// A full or partial load, as row_sum's callbacks need it.
template <Real T>
[[gnu::always_inline]] inline Pack<T> load(const T* p, Index count, T fill = T(0)) {
  return count == Pack<T>::size ? Pack<T>::load(p) : Pack<T>::load(p, count, fill);
}
template <Real T>
[[gnu::always_inline]] inline void store(Pack<T> value, T* p, Index count) {
  count == Pack<T>::size ? value.store(p) : value.store(p, count);
}

/// Calls f(i, count) for all packs of a row, the last one with count < Pack::size if n is not a multiple.
template <Real T, class F>
void for_packs(Index n, F f) {
  Index i = 0;
  for (; i + Pack<T>::size <= n; i += Pack<T>::size) f(i, Index{Pack<T>::size});
  if (i < n) f(i, n - i);
}

/// What turns the logits of a row into log-probabilities: log softmax(factor x)_i = (factor x_i - high) -
/// rest. Two numbers, since their sum would be rounded as coarsely as the logits are large.
template <Real T>
struct LogNormaliser {
  T factor, high, rest;

  [[nodiscard]] T operator()(T x) const { return (x * factor - high) - rest; }
  [[nodiscard]] Pack<T> operator()(Pack<T> x) const {
    return (x * Pack<T>(factor) - Pack<T>(high)) - Pack<T>(rest);
  }
};

template <Real T>
LogNormaliser<T> log_normaliser(const T* x, Index n, T factor = T(1)) {
  const T high = row_max(x, n) * factor;
  const double total = row_sum<T>(
      n, [&](Index i, Index count) { return exp(load(x + i, count) * Pack<T>(factor) - Pack<T>(high)); });
  return {factor, high, static_cast<T>(std::log(total))};
}

/// log sum exp of a row, exact for -inf entries; -inf for a row of nothing but -inf.
template <Real T>
T log_sum_exp(const T* x, Index n) {
  const T high = row_max(x, n);
  if (high == -std::numeric_limits<T>::infinity()) return high;
  const double total =
      row_sum<T>(n, [&](Index i, Index count) { return exp(load(x + i, count) - Pack<T>(high)); });
  return high + static_cast<T>(std::log(total));
}

}  // namespace retort::kernels::cpu
