// MiniLLM draws with a sampler.
// expect: MiniLlm: a sampler needs filter\(logits, n, scratch\), which changes a row in place
#include "retort/distill/minillm.hpp"

struct Coldest {
#ifdef RETORT_OK
  template <class T>
  void filter(T*, retort::Index, std::vector<retort::Index>&) const {}
#endif
  template <class F>
  void each_field(F&&) const {}
};

int main() {
  const retort::MiniLlm<Coldest> how;
  return static_cast<int>(how.max_tokens);
}
