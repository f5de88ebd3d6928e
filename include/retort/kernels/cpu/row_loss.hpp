#pragma once

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

/// The one driver of every divergence: two rows of logits in, the divergence out, and the student's logits
/// overwritten with its gradient. Equation (1) of docs/architecture.md: with pull_v = q_v dphi/dq_v,
///   dD/dz_j = (pull_j - q_j sum_v pull_v) / temperature.
namespace retort::kernels {

namespace cpu {

/// logits (n) := slope times the gradient of log softmax(logits)[token], which is onehot - softmax. `log_q`
/// is log_normaliser(logits, n).
template <Real T>
void token_gradient(T* logits, Index n, std::int32_t token, T slope, const LogNormaliser<T>& log_q) {
  using P = Pack<T>;
  for_packs<T>(n,
               [&](Index i, Index c) { store(exp(log_q(load(logits + i, c))) * P(-slope), logits + i, c); });
  logits[token] += slope;
}

}  // namespace cpu

/// For each row r: loss[r] = D(p || q), p and q the softmax of the teacher's and the student's logits over
/// the vocabulary that both have; student logits := weight[r] dD/dz + what `slopes` adds, teacher logits are
/// scratch afterwards. The divergence of rows of weight 0 is not looked at: loss 0, gradient 0. `Divergence`
/// has `term(log_p, log_q)` and `pull(log_p, log_q)`.
template <Real T, class Divergence>
void row_loss(CpuDevice, const Divergence& divergence, const RowLossShape& shape, T* student, T* teacher,
              const T* weight, double* loss, const TokenSlopes<T>& slopes = {}) {
  using P = cpu::Pack<T>;
  const Index vs = shape.student_vocabulary, vt = shape.teacher_vocabulary, common = std::min(vs, vt);
  const Index stride_s = row_stride(shape.student_stride, vs),
              stride_t = row_stride(shape.teacher_stride, vt);
  const T inverse = static_cast<T>(1 / shape.temperature);
  parallel_for(shape.rows, 4096 / (common + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      T *zs = student + r * stride_s, *zt = teacher + r * stride_t;
      loss[r] = 0;
      const T slope = shape.gradient && slopes.slope != nullptr ? slopes.slope[r] : T(0);
      if (weight[r] == T(0)) {
        if (slope != T(0))
          cpu::token_gradient(zs, vs, slopes.token[r], slope, cpu::log_normaliser(zs, vs));
        else if (shape.gradient)
          std::fill_n(zs, vs, T(0));
        continue;
      }
      const auto log_q = cpu::log_normaliser(zs, common, inverse);
      const auto log_p = cpu::log_normaliser(zt, common, inverse);
      loss[r] = cpu::row_sum<T>(common, [&](Index i, Index c) {
        return divergence.term(log_p(cpu::load(zt + i, c)), log_q(cpu::load(zs + i, c)));
      });
      if (!shape.gradient) continue;
      const double pulled = cpu::row_sum<T>(common, [&](Index i, Index c) {
        const P pull = divergence.pull(log_p(cpu::load(zt + i, c)), log_q(cpu::load(zs + i, c)));
        cpu::store(pull, zt + i, c);
        return pull;
      });
      const P total(static_cast<T>(pulled)), scale(weight[r] * inverse);
      if (slope == T(0)) {
        cpu::for_packs<T>(common, [&](Index i, Index c) {
          const P q = exp(log_q(cpu::load(zs + i, c)));
          cpu::store((cpu::load(zt + i, c) - q * total) * scale, zs + i, c);
        });
        std::fill(zs + common, zs + vs, T(0));
        continue;
      }
      cpu::for_packs<T>(common, [&](Index i, Index c) {  // zt := the divergence's gradient
        const P q = exp(log_q(cpu::load(zs + i, c)));
        cpu::store((cpu::load(zt + i, c) - q * total) * scale, zt + i, c);
      });
      cpu::token_gradient(zs, vs, slopes.token[r], slope, cpu::log_normaliser(zs, vs));
      cpu::for_packs<T>(common, [&](Index i, Index c) {
        cpu::store(cpu::load(zs + i, c) + cpu::load(zt + i, c), zs + i, c);
      });
    }
  });
}

/// For each row r of logits (rows, vocabulary): loss[r] = -log softmax(logits)[target[r]], and if `gradient`
/// logits := weight[r] (softmax - onehot). Rows of weight 0 are not looked at.
template <Real T>
void cross_entropy(CpuDevice, Index rows, Index vocabulary, T* logits, const std::int32_t* target,
                   const T* weight, bool gradient, double* loss, Index stride = 0) {
  parallel_for(rows, 8192 / (vocabulary + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      T* z = logits + r * row_stride(stride, vocabulary);
      loss[r] = 0;
      if (weight[r] == T(0)) {
        if (gradient) std::fill_n(z, vocabulary, T(0));
        continue;
      }
      const auto log_q = cpu::log_normaliser(z, vocabulary);
      loss[r] = -static_cast<double>(log_q(z[target[r]]));
      if (gradient) cpu::token_gradient(z, vocabulary, target[r], -weight[r], log_q);
    }
  });
}

/// out[r] = log softmax(logits / temperature)[token[r]] for rows of `vocabulary` logits.
template <Real T>
void token_log_probabilities(CpuDevice, Index rows, Index vocabulary, const T* logits,
                             const std::int32_t* token, double temperature, T* out, Index stride = 0) {
  const T inverse = static_cast<T>(1 / temperature);
  parallel_for(rows, 8192 / (vocabulary + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* z = logits + r * row_stride(stride, vocabulary);
      out[r] = cpu::log_normaliser(z, vocabulary, inverse)(z[token[r]]);
    }
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_CROSS_ENTROPY_INSTANCES(PREFIX, T)                                                         \
  PREFIX template void cross_entropy<T>(CpuDevice, Index, Index, T*, const std::int32_t*, const T*, bool, \
                                        double*, Index);                                                  \
  PREFIX template void token_log_probabilities<T>(CpuDevice, Index, Index, const T*, const std::int32_t*, \
                                                  double, T*, Index);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_CROSS_ENTROPY_INSTANCES(extern, float)
RETORT_CROSS_ENTROPY_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
