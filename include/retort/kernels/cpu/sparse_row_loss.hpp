#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

/// The driver of every divergence from a teacher of whom the k most probable tokens K of a row are known and
/// the probability of all others together: outcomes are the k tokens and one more, "any other" (T),
///   D = sum_K phi(p_v, q_v) + phi(p_T, q_T),   p_T = 1 - sum_K p,   q_T = 1 - sum_K q.
/// Never negative, never more than the divergence over the whole vocabulary (data processing inequality).
/// With S the sum of the k + 1 pulls, the gradient to the student's logits is that of row_loss.hpp for a
/// token of K, and the bucket's is divided among the others as q divides it:
///   dD/dz_v = (pull_v - q_v S) / temperature,   dD/dz_j = q_j / q_T (pull_T - q_T S) / temperature.
namespace retort::kernels {

namespace cpu {

/// A row of logits as k tokens and the others. No probability is a difference of others: 1 - sum_K q would
/// have no digit left where the others are improbable.
template <Real T>
struct SplitRow {
  LogNormaliser<T> token;  ///< log-probability of a token from its logit
  LogNormaliser<T> other;  ///< the same among the others alone
  double log_tail;         ///< log-probability of the others together, -inf if there are none
};

/// Splits a row of n logits at k different `ids`: their logits go to `kept`, -inf stands in their places.
template <Real T>
SplitRow<T> split_row(Index n, T* x, Index k, const std::int32_t* ids, T factor, T* kept) {
  using P = Pack<T>;
  const auto none = -std::numeric_limits<T>::infinity();
  for (Index i = 0; i < k; ++i) {
    kept[i] = x[ids[i]];
    x[ids[i]] = none;
  }
  const auto sum_exp = [factor](const T* from, Index count, T high) {
    return row_sum<T>(count, [&](Index i, Index c) { return exp(load(from + i, c) * P(factor) - P(high)); });
  };
  const T tail_high = row_max(x, n) * factor, kept_high = row_max(kept, k) * factor;
  const bool empty = tail_high == none;  // also where all of them are -inf
  const T high = tail_high > kept_high ? tail_high : kept_high;
  const double tail = empty ? 0 : sum_exp(x, n, tail_high);
  const double below = static_cast<double>(tail_high) - static_cast<double>(high);
  const double total = sum_exp(kept, k, high) + (empty ? 0 : std::exp(below) * tail);
  const double log_total = std::log(total), log_tail = std::log(tail);
  return {{factor, high, static_cast<T>(log_total)},
          {factor, tail_high, static_cast<T>(log_tail)},
          empty ? -HUGE_VAL : std::min(below + log_tail - log_total, 0.0)};
}

}  // namespace cpu

/// For each row r: loss[r] = D(p || q) over k + 1 outcomes, see above: p of `ids` (rows, k), different tokens
/// of the teacher's vocabulary, their log-probabilities `log_p` (rows, k) and that of all others `log_tail`
/// (rows), -inf where there are none; q the softmax of the student's logits. Student logits := weight[r]
/// dD/dz. Rows of weight 0 are not looked at: loss 0, gradient 0. `Divergence` as for row_loss.
template <Real T, class Divergence>
void sparse_row_loss(CpuDevice, const Divergence& divergence, const SparseRowLossShape& shape, T* student,
                     const std::int32_t* ids, const T* log_p, const T* log_tail, const T* weight,
                     double* loss) {
  const Index v = shape.student_vocabulary, n = std::min(v, shape.teacher_vocabulary), k = shape.k;
  const Index outcomes = k < n ? k + 1 : k;
  const T inverse = static_cast<T>(1 / shape.temperature);
  parallel_for(shape.rows, 4096 / (n + 1) + 1, [&](Index begin, Index end) {
    std::vector<T> kept(static_cast<std::size_t>(k)), p(kept.size() + 1), q(kept.size() + 1);
    for (Index r = begin; r < end; ++r) {
      T* z = student + r * row_stride(shape.student_stride, v);
      const std::int32_t* id = ids + r * k;
      loss[r] = 0;
      if (weight[r] == T(0)) {
        if (shape.gradient) std::fill_n(z, v, T(0));
        continue;
      }
      const auto row = cpu::split_row(n, z, k, id, inverse, kept.data());
      std::copy_n(log_p + r * k, k, p.begin());
      std::transform(kept.begin(), kept.end(), q.begin(), row.token);
      p.back() = log_tail[r];
      q.back() = static_cast<T>(row.log_tail);
      loss[r] = cpu::row_sum<T>(outcomes, [&](Index i, Index c) {
        return divergence.term(cpu::load(p.data() + i, c), cpu::load(q.data() + i, c));
      });
      if (!shape.gradient) {
        for (Index i = 0; i < k; ++i) z[id[i]] = kept[static_cast<std::size_t>(i)];
        continue;
      }
      const double pulled = cpu::row_sum<T>(outcomes, [&](Index i, Index c) {
        const auto pull = divergence.pull(cpu::load(p.data() + i, c), cpu::load(q.data() + i, c));
        cpu::store(pull, p.data() + i, c);
        return pull;
      });
      const T total = static_cast<T>(pulled), scale = weight[r] * inverse;
      const auto gradient = [&](std::size_t i) { return (p[i] - math::exp(q[i]) * total) * scale; };
      if (row.log_tail == -HUGE_VAL) {
        std::fill_n(z, n, T(0));
      } else {
        const cpu::Pack<T> bucket(gradient(kept.size()));
        cpu::for_packs<T>(
            n, [&](Index i, Index c) { cpu::store(exp(row.other(cpu::load(z + i, c))) * bucket, z + i, c); });
      }
      for (std::size_t i = 0; i < kept.size(); ++i) z[id[i]] = gradient(i);
      std::fill(z + n, z + v, T(0));
    }
  });
}

}  // namespace retort::kernels
