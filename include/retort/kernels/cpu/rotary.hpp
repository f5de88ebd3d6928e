#pragma once

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

namespace retort::kernels {

namespace cpu {

/// Turns one head's columns by the angles of a row: x + iy becomes (x + iy)(cos + i sin); `turn` is -1 for
/// the opposite direction. `y` receives the result or, if `add`, grows by it.
template <Real T>
void rotate_head(const RotaryShape& s, bool add, const T* cos, const T* sin, T turn, const T* x, T* y) {
  const Index half = s.width / 2;
  if (s.layout == RotaryLayout::interleaved) {
    for (Index i = 0; i < half; ++i) {
      const T a = x[2 * i], b = x[2 * i + 1], c = cos[i], d = turn * sin[i];
      const T first = a * c - b * d, second = b * c + a * d;
      y[2 * i] = add ? y[2 * i] + first : first;
      y[2 * i + 1] = add ? y[2 * i + 1] + second : second;
    }
    return;
  }
  for_packs<T>(half, [&](Index i, Index n) {
    const auto a = load(x + i, n), b = load(x + half + i, n), c = load(cos + i, n);
    const auto d = load(sin + i, n) * Pack<T>(turn);
    const auto first = a * c - b * d, second = b * c + a * d;
    store(add ? load(y + i, n) + first : first, y + i, n);
    store(add ? load(y + half + i, n) + second : second, y + half + i, n);
  });
}

}  // namespace cpu

/// Rows of x (rows, columns), the heads' columns turned by the angles whose cosines and sines are (rows,
/// width / 2), all others as they are; `inverse` turns back. x and y do not overlap.
template <Real T>
void rotary(CpuDevice, Write write, const RotaryShape& s, bool inverse, const T* cos, const T* sin,
            const T* x, T* y) {
  const bool add = write == Write::accumulate;
  const Index half = s.width / 2, turned = s.heads * s.head_width;
  const auto keep = [&](const T* from, Index first, Index last, T* to) {
    cpu::for_packs<T>(last - first, [&](Index i, Index n) {
      const auto value = cpu::load(from + first + i, n);
      cpu::store(add ? cpu::load(to + first + i, n) + value : value, to + first + i, n);
    });
  };
  parallel_for(s.rows, 16384 / (s.columns + 1) + 1, [&](Index begin, Index end) {
    for (Index r = begin; r < end; ++r) {
      const T* from = x + r * s.columns;
      T* to = y + r * s.columns;
      for (Index h = 0; h < s.heads; ++h) {
        const Index at = h * s.head_width;
        cpu::rotate_head(s, add, cos + r * half, sin + r * half, inverse ? T(-1) : T(1), from + at, to + at);
        keep(from, at + s.width, at + s.head_width, to);
      }
      keep(from, turned, s.columns, to);
    }
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_ROTARY_INSTANCES(PREFIX, T)                                                                 \
  PREFIX template void rotary<T>(CpuDevice, Write, const RotaryShape&, bool, const T*, const T*, const T*, \
                                 T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_ROTARY_INSTANCES(extern, float)
RETORT_ROTARY_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
