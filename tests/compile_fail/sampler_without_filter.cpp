// A sampler filters a row of logits.
// expect: Gkd: a sampler needs filter\(logits, n, scratch\)
#include "retort/distill/gkd.hpp"

struct Half {
#ifdef RETORT_OK
  template <class T>
  void filter(T* logits, retort::Index n, std::vector<retort::Index>&) const {
    for (retort::Index i = 0; i < n / 2; ++i) logits[i] = -std::numeric_limits<T>::infinity();
  }
#endif
};

int main() {
  const retort::Gkd<retort::Jsd, retort::FromStudent, Half> recipe{};
  return recipe.max_tokens == 128 ? 0 : 1;
}
