#pragma once

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

namespace retort::kernels {

namespace cpu {

/// Softmax of one row; a row of nothing but -inf gives zeros.
template <Real T>
void softmax_row(const T* x, T* y, Index n) {
  const T high = row_max(x, n);
  if (high == -std::numeric_limits<T>::infinity()) {
    std::fill_n(y, n, T(0));
    return;
  }
  const double total = row_sum<T>(n, [&](Index i, Index count) {
    const Pack<T> e = exp(load(x + i, count) - Pack<T>(high));
    store(e, y + i, count);
    return e;
  });
  const Pack<T> scale(static_cast<T>(1 / total));
  for_packs<T>(n, [&](Index i, Index count) { store(load(y + i, count) * scale, y + i, count); });
}

}  // namespace cpu

/// y = softmax(x) along the last dimension of (rows, n). y may be x.
template <Real T>
void softmax(CpuDevice, Index rows, Index n, const T* x, T* y) {
  parallel_for(rows, 16384 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) cpu::softmax_row(x + r * n, y + r * n, n);
  });
}

/// dx (+)= y * (dy - sum(y * dy)), the gradient of softmax.
template <Real T>
void softmax_backward(CpuDevice, Write write, Index rows, Index n, const T* y, const T* dy, T* dx) {
  using P = cpu::Pack<T>;
  parallel_for(rows, 16384 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T *yr = y + r * n, *gr = dy + r * n;
      T* out = dx + r * n;
      const P dot(static_cast<T>(
          cpu::row_sum<T>(n, [&](Index i, Index c) { return cpu::load(yr + i, c) * cpu::load(gr + i, c); })));
      cpu::for_packs<T>(n, [&](Index i, Index c) {
        const P value = cpu::load(yr + i, c) * (cpu::load(gr + i, c) - dot);
        cpu::store(write == Write::accumulate ? cpu::load(out + i, c) + value : value, out + i, c);
      });
    }
  });
}

/// y = x - log sum exp(x) along the last dimension. y may be x.
template <Real T>
void log_softmax(CpuDevice, Index rows, Index n, const T* x, T* y) {
  parallel_for(rows, 16384 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* from = x + r * n;
      T* to = y + r * n;
      const auto log_p = cpu::log_normaliser(from, n);
      cpu::for_packs<T>(n, [&](Index i, Index c) { cpu::store(log_p(cpu::load(from + i, c)), to + i, c); });
    }
  });
}

/// dx (+)= dy - exp(y) * sum(dy), the gradient of log-softmax.
template <Real T>
void log_softmax_backward(CpuDevice, Write write, Index rows, Index n, const T* y, const T* dy, T* dx) {
  using P = cpu::Pack<T>;
  parallel_for(rows, 16384 / (n + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T *yr = y + r * n, *gr = dy + r * n;
      T* out = dx + r * n;
      const P total(
          static_cast<T>(cpu::row_sum<T>(n, [&](Index i, Index c) { return cpu::load(gr + i, c); })));
      cpu::for_packs<T>(n, [&](Index i, Index c) {
        const P value = cpu::load(gr + i, c) - exp(cpu::load(yr + i, c)) * total;
        cpu::store(write == Write::accumulate ? cpu::load(out + i, c) + value : value, out + i, c);
      });
    }
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_SOFTMAX_INSTANCES(PREFIX, T)                                                         \
  PREFIX template void softmax<T>(CpuDevice, Index, Index, const T*, T*);                           \
  PREFIX template void softmax_backward<T>(CpuDevice, Write, Index, Index, const T*, const T*, T*); \
  PREFIX template void log_softmax<T>(CpuDevice, Index, Index, const T*, T*);                       \
  PREFIX template void log_softmax_backward<T>(CpuDevice, Write, Index, Index, const T*, const T*, T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_SOFTMAX_INSTANCES(extern, float)
RETORT_SOFTMAX_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
