#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "retort/kernels/cpu/sparse_row_loss.hpp"

/// The most probable tokens of rows of logits, and the probability of all others: what a sparse teacher is
/// made of.
namespace retort::kernels {

namespace cpu {

/// The k largest of n >= k numbers with their places: the largest first, of equals the one that comes first.
/// One pass that looks closely only where a number beats the k-th so far, which becomes rare.
template <Real T>
void find_largest(const T* x, Index n, Index k, std::vector<std::pair<T, std::int32_t>>& found) {
  using P = Pack<T>;
  constexpr Index block = 4 * P::size;
  const auto before = [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  found.clear();
  for (Index i = 0; i < k; ++i) found.emplace_back(x[i], static_cast<std::int32_t>(i));
  std::make_heap(found.begin(), found.end(), before);  // the k-th largest in front
  for (Index first = k; first < n; first += block) {
    const Index last = std::min(n, first + block);
    if (last - first == block) {
      const T* b = x + first;
      const P high =
          max(max(P::load(b), P::load(b + P::size)), max(P::load(b + 2 * P::size), P::load(b + 3 * P::size)));
      if (high.highest() <= found.front().first) continue;
    }
    for (Index i = first; i < last; ++i) {
      if (!(x[i] > found.front().first)) continue;
      std::pop_heap(found.begin(), found.end(), before);
      found.back() = {x[i], static_cast<std::int32_t>(i)};
      std::push_heap(found.begin(), found.end(), before);
    }
  }
  std::sort_heap(found.begin(), found.end(), before);
}

}  // namespace cpu

/// For each row of logits: ids (rows, k) of its k largest, the largest first and of equals the lower id;
/// log_p (rows, k), their log-probabilities under softmax(logits / temperature); log_tail (rows), that of all
/// others together, -inf if there are none. The logits are scratch afterwards. A NaN or +inf among the logits
/// makes all numbers of its row NaN.
template <Real T>
void top_k_log_probabilities(CpuDevice, const TopKShape& shape, T* logits, std::int32_t* ids, T* log_p,
                             T* log_tail) {
  const Index k = shape.k;
  const T inverse = static_cast<T>(1 / shape.temperature);
  parallel_for(shape.rows, 4096 / (shape.vocabulary + 1) + 1, [&](Index begin, Index end) {
    std::vector<std::pair<T, std::int32_t>> found;
    for (Index r = begin; r < end; ++r) {
      T *z = logits + r * shape.columns, *p = log_p + r * k;
      std::int32_t* id = ids + r * k;
      cpu::find_largest(z, shape.vocabulary, k, found);
      std::ranges::transform(found, id, [](const auto& one) { return one.second; });
      const auto row = cpu::split_row(shape.vocabulary, z, k, id, inverse, p);
      std::transform(p, p + k, p, row.token);
      log_tail[r] = static_cast<T>(row.log_tail);
    }
  });
}

#define RETORT_TOP_K_INSTANCES(PREFIX, T) \
  PREFIX template void top_k_log_probabilities<T>(CpuDevice, const TopKShape&, T*, std::int32_t*, T*, T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_TOP_K_INSTANCES(extern, float)
RETORT_TOP_K_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
