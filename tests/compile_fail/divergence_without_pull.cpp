// A divergence is two functions: one that has no `pull` is none.
// expect: Gkd: a divergence needs term\(log_p, log_q\) and pull\(log_p, log_q\)
#include "retort/distill/gkd.hpp"

struct Hellinger {
  template <class N>
  N term(N log_p, N log_q) const {
    using namespace retort::math;
    return N(0.5) * (exp(log_p) + exp(log_q)) - exp(N(0.5) * (log_p + log_q));
  }
#ifdef RETORT_OK
  template <class N>
  N pull(N log_p, N log_q) const {
    using namespace retort::math;
    return N(-0.5) * exp(N(0.5) * (log_p + log_q));
  }
#endif
};

int main() {
  const retort::Gkd recipe{
      .divergence = Hellinger{}, .outputs = retort::FromStudent{}, .sampler = retort::Temperature{}};
  return recipe.max_tokens == 128 ? 0 : 1;
}
