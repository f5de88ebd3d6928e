#pragma once

#include <array>

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

namespace retort::kernels {

/// Several sums over the vocabulary in one pass. For each row r and each k < F::count, out[r F::count + k] =
/// the sum over v of f(log p_v, log q_v)[k], p and q the softmax of the teacher's (rows, vt) and the
/// student's (rows, vs) logits over the vocabulary that both have. f takes and returns packs: `std::array<N,
/// count>`.
template <Real T, class F>
void row_sums(CpuDevice, const F& f, Index rows, Index vs, Index vt, const T* student, const T* teacher,
              double* out, Index student_stride = 0, Index teacher_stride = 0) {
  using P = cpu::Pack<T>;
  const Index common = std::min(vs, vt);
  parallel_for(rows, 4096 / (common + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T *zs = student + r * row_stride(student_stride, vs),
              *zt = teacher + r * row_stride(teacher_stride, vt);
      const auto log_q = cpu::log_normaliser(zs, common);
      const auto log_p = cpu::log_normaliser(zt, common);
      std::array<double, F::count> totals{};
      for (Index first = 0; first < common;
           first += 16 * P::size) {  // a block in packs, the blocks in double
        const Index last = std::min(common, first + 16 * P::size);
        std::array<P, F::count> part;
        part.fill(P(T(0)));
        Index i = first;
        for (; i + P::size <= last; i += P::size) {
          const auto terms = f(log_p(P::load(zt + i)), log_q(P::load(zs + i)));
          for (std::size_t k = 0; k < F::count; ++k) part[k] += terms[k];
        }
        for (std::size_t k = 0; k < F::count; ++k) totals[k] += static_cast<double>(part[k].sum());
        if (i == last) continue;
        const auto terms = f(log_p(P::load(zt + i, last - i)), log_q(P::load(zs + i, last - i)));
        for (std::size_t k = 0; k < F::count; ++k) {
          std::array<T, P::size> lanes;
          terms[k].store(lanes.data());
          for (Index j = 0; j < last - i; ++j)
            totals[k] += static_cast<double>(lanes[static_cast<std::size_t>(j)]);
        }
      }
      std::copy(totals.begin(), totals.end(), out + r * static_cast<Index>(F::count));
    }
  });
}

}  // namespace retort::kernels
