// Greedy chooses; among filters it would be drawn from after all.
// expect: Greedy is no filter: use it alone, or TopK
#include "retort/generate/samplers.hpp"

int main() {
#ifdef RETORT_OK
  const retort::Filters sampler{retort::Temperature{0.5}, retort::TopK{1}};
#else
  const retort::Filters sampler{retort::Temperature{0.5}, retort::Greedy{}};
#endif
  return sampler.problem() == nullptr ? 0 : 1;
}
