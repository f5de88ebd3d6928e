#pragma once

#include <vector>

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/gemm.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

/// Layer norm (Ba et al. 2016) and RMS norm (Zhang & Sennrich 2019; T5's layer norm), bias rows and column
/// sums.
namespace retort::kernels {

/// y = (x - mean) / sqrt(var + eps) * gain + bias per row of (rows, n); `mean` and `rstd` (rows) are kept for
/// the gradient. The variance is the biased one.
template <Real T>
void layer_norm(CpuDevice, Index rows, Index n, const T* x, const T* gain, const T* bias, T eps, T* y,
                T* mean, T* rstd) {
  using P = cpu::Pack<T>;
  parallel_for(rows, 8192 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* from = x + r * n;
      T* to = y + r * n;
      const T m =
          static_cast<T>(cpu::row_sum<T>(n, [&](Index i, Index c) { return cpu::load(from + i, c); }) /
                         static_cast<double>(n));
      const double variance = cpu::row_sum<T>(n,
                                              [&](Index i, Index c) {
                                                const P d = cpu::load(from + i, c) - P(m);
                                                return d * d;
                                              }) /
                              static_cast<double>(n);
      const T s = static_cast<T>(1 / std::sqrt(variance + static_cast<double>(eps)));
      cpu::for_packs<T>(n, [&](Index i, Index c) {
        const P normal = (cpu::load(from + i, c) - P(m)) * P(s);
        cpu::store(fma(normal, cpu::load(gain + i, c), cpu::load(bias + i, c)), to + i, c);
      });
      mean[r] = m;
      rstd[r] = s;
    }
  });
}

/// y = x / sqrt(mean(x^2) + eps) * gain per row; `rstd` (rows) is kept for the gradient.
template <Real T>
void rms_norm(CpuDevice, Index rows, Index n, const T* x, const T* gain, T eps, T* y, T* rstd) {
  using P = cpu::Pack<T>;
  parallel_for(rows, 8192 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* from = x + r * n;
      T* to = y + r * n;
      const double square = cpu::row_sum<T>(n,
                                            [&](Index i, Index c) {
                                              const P d = cpu::load(from + i, c);
                                              return d * d;
                                            }) /
                            static_cast<double>(n);
      const T s = static_cast<T>(1 / std::sqrt(square + static_cast<double>(eps)));
      cpu::for_packs<T>(n, [&](Index i, Index c) {
        cpu::store(cpu::load(from + i, c) * P(s) * cpu::load(gain + i, c), to + i, c);
      });
      rstd[r] = s;
    }
  });
}

/// Gradient of both norms to x. With g = dy * gain and xhat = (x - mean) * rstd:
///   layer norm  dx = rstd (g - mean(g) - xhat mean(g xhat))
///   RMS norm    dx = rstd (g - xhat mean(g xhat)), `mean` = nullptr
template <Real T>
void norm_backward_input(CpuDevice, Write write, Index rows, Index n, const T* x, const T* gain,
                         const T* mean, const T* rstd, const T* dy, T* dx) {
  using P = cpu::Pack<T>;
  parallel_for(rows, 8192 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T *from = x + r * n, *g = dy + r * n;
      T* to = dx + r * n;
      const P m(mean ? mean[r] : T(0)), s(rstd[r]);
      const double over = 1 / static_cast<double>(n);
      const P g_mean(mean ? static_cast<T>(over * cpu::row_sum<T>(n,
                                                                  [&](Index i, Index c) {
                                                                    return cpu::load(g + i, c) *
                                                                           cpu::load(gain + i, c);
                                                                  }))
                          : T(0));
      const P gx_mean(static_cast<T>(over * cpu::row_sum<T>(n, [&](Index i, Index c) {
                                       return cpu::load(g + i, c) * cpu::load(gain + i, c) *
                                              (cpu::load(from + i, c) - m) * s;
                                     })));
      cpu::for_packs<T>(n, [&](Index i, Index c) {
        const P normal = (cpu::load(from + i, c) - m) * s;
        const P value = s * (cpu::load(g + i, c) * cpu::load(gain + i, c) - g_mean - normal * gx_mean);
        cpu::store(write == Write::accumulate ? cpu::load(to + i, c) + value : value, to + i, c);
      });
    }
  });
}

namespace cpu {

/// out[j] (+)= sum over rows of term(r, j, count), j a pack of columns: threads take column ranges, rows are
/// added in blocks of 64 in T and the blocks in double.
template <Real T, class Term>
void column_sums(Write write, Index rows, Index n, T* out, Term term) {
  constexpr Index size = Pack<T>::size;
  parallel_for((n + size - 1) / size, std::max<Index>(1, 16384 / (rows * size + 1)),
               [&](Index begin, Index end) {
                 std::array<T, size> lanes;
                 for (Index p = begin; p < end; ++p) {
                   const Index j = p * size, count = std::min<Index>(size, n - j);
                   std::array<double, size> total{};
                   for (Index r0 = 0; r0 < rows; r0 += 64) {
                     Pack<T> part(T(0));
                     for (Index r = r0; r < std::min(rows, r0 + 64); ++r) part += term(r, j, count);
                     part.store(lanes.data());
                     for (std::size_t l = 0; l < size; ++l) total[l] += static_cast<double>(lanes[l]);
                   }
                   for (Index l = 0; l < count; ++l) {
                     const T value = static_cast<T>(total[static_cast<std::size_t>(l)]);
                     out[j + l] = write == Write::accumulate ? out[j + l] + value : value;
                   }
                 }
               });
}

}  // namespace cpu

/// dgain (+)= sum over rows of dy * xhat, xhat as in norm_backward_input.
template <Real T>
void norm_backward_gain(CpuDevice, Write write, Index rows, Index n, const T* x, const T* mean, const T* rstd,
                        const T* dy, T* dgain) {
  using P = cpu::Pack<T>;
  cpu::column_sums<T>(write, rows, n, dgain, [&](Index r, Index j, Index c) {
    const P m(mean ? mean[r] : T(0));
    return cpu::load(dy + r * n + j, c) * (cpu::load(x + r * n + j, c) - m) * P(rstd[r]);
  });
}

/// out (n) (+)= sum over rows of x (rows, n): the gradient of a bias.
template <Real T>
void sum_rows(CpuDevice, Write write, Index rows, Index n, const T* x, T* out, Index stride = 0) {
  const Index step = row_stride(stride, n);
  cpu::column_sums<T>(write, rows, n, out,
                      [&](Index r, Index j, Index c) { return cpu::load(x + r * step + j, c); });
}

/// y (rows, n) += bias (n).
template <Real T>
void add_bias(CpuDevice, Index rows, Index n, const T* bias, T* y, Index stride = 0) {
  const Index step = row_stride(stride, n);
  parallel_for(rows, 32768 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r)
      cpu::for_packs<T>(n, [&](Index i, Index c) {
        cpu::store(cpu::load(y + r * step + i, c) + cpu::load(bias + i, c), y + r * step + i, c);
      });
  });
}

/// y (rows, out) = scale * x (rows, in) w' + bias, w (out, in), bias (out) or nullptr; rows of y are `stride`
/// apart (0: out).
template <Real T>
void linear(CpuDevice device, Index rows, Index out, Index in, T scale, const T* x, const T* w, const T* bias,
            T* y, Index stride = 0) {
  gemm(device, Op::none, Op::transpose, rows, out, in, scale, x, in, w, in, T(0), y, row_stride(stride, out));
  if (bias != nullptr) add_bias(device, rows, out, bias, y, stride);
}

// What instances.cpp compiles once for a whole program.
#define RETORT_NORM_INSTANCES(PREFIX, T)                                                                    \
  PREFIX template void layer_norm<T>(CpuDevice, Index, Index, const T*, const T*, const T*, T, T*, T*, T*); \
  PREFIX template void rms_norm<T>(CpuDevice, Index, Index, const T*, const T*, T, T*, T*);                 \
  PREFIX template void norm_backward_input<T>(CpuDevice, Write, Index, Index, const T*, const T*, const T*, \
                                              const T*, const T*, T*);                                      \
  PREFIX template void norm_backward_gain<T>(CpuDevice, Write, Index, Index, const T*, const T*, const T*,  \
                                             const T*, T*);                                                 \
  PREFIX template void sum_rows<T>(CpuDevice, Write, Index, Index, const T*, T*, Index);                    \
  PREFIX template void add_bias<T>(CpuDevice, Index, Index, const T*, T*, Index);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_NORM_INSTANCES(extern, float)
RETORT_NORM_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
