#pragma once

#include "retort/core/parallel.hpp"
#include "retort/kernels/contract.hpp"
#include "retort/kernels/cpu/row.hpp"
#include "retort/tensor/device.hpp"

/// Optimizer steps in one pass over weight, gradient and state.
namespace retort::kernels {

template <Real T>
void adamw(CpuDevice, const AdamWStep& s, Index count, T* weight, const T* gradient, T* first, T* second) {
  using P = cpu::Pack<T>;
  const P beta1(static_cast<T>(s.beta1)), rest1(static_cast<T>(1 - s.beta1));
  const P beta2(static_cast<T>(s.beta2)), rest2(static_cast<T>(1 - s.beta2));
  const P keep(static_cast<T>(1 - s.rate * s.weight_decay)), step(static_cast<T>(s.rate / s.correction1));
  const P root(static_cast<T>(1 / std::sqrt(s.correction2))), epsilon(static_cast<T>(s.epsilon));
  const P scale(static_cast<T>(s.gradient_scale));
  parallel_for(count, 16384, [&](Index begin, Index end) {
    cpu::for_packs<T>(end - begin, [&](Index offset, Index c) {
      const Index i = begin + offset;
      const P g = cpu::load(gradient + i, c) * scale;
      const P m = fma(beta1, cpu::load(first + i, c), rest1 * g);
      const P v = fma(beta2, cpu::load(second + i, c), rest2 * g * g);
      const P w = cpu::load(weight + i, c) * keep - step * m / (sqrt(v) * root + epsilon);
      cpu::store(m, first + i, c);
      cpu::store(v, second + i, c);
      cpu::store(w, weight + i, c);
    });
  });
}

template <Real T>
void sgd(CpuDevice, const SgdStep& s, Index count, T* weight, const T* gradient, T* velocity) {
  using P = cpu::Pack<T>;
  const P rate(static_cast<T>(s.rate)), momentum(static_cast<T>(s.momentum));
  const P decay(static_cast<T>(s.weight_decay)), scale(static_cast<T>(s.gradient_scale));
  parallel_for(count, 16384, [&](Index begin, Index end) {
    cpu::for_packs<T>(end - begin, [&](Index offset, Index c) {
      const Index i = begin + offset;
      const P w = cpu::load(weight + i, c);
      const P g = fma(decay, w, cpu::load(gradient + i, c) * scale);
      const P v = fma(momentum, cpu::load(velocity + i, c), g);
      cpu::store(v, velocity + i, c);
      cpu::store(w - rate * (s.nesterov ? fma(momentum, v, g) : v), weight + i, c);
    });
  });
}

// What instances.cpp compiles once for a whole program.
#define RETORT_UPDATE_INSTANCES(PREFIX, T)                                                 \
  PREFIX template void adamw<T>(CpuDevice, const AdamWStep&, Index, T*, const T*, T*, T*); \
  PREFIX template void sgd<T>(CpuDevice, const SgdStep&, Index, T*, const T*, T*);
#if defined(RETORT_EXTERN_KERNELS)
RETORT_UPDATE_INSTANCES(extern, float)
RETORT_UPDATE_INSTANCES(extern, double)
#endif

}  // namespace retort::kernels
