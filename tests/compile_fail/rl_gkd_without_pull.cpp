// The divergence of RL + GKD has a gradient.
// expect: RlGkd: a divergence needs term\(log_p, log_q\) and pull\(log_p, log_q\)
#include "retort/distill/rl_gkd.hpp"

struct Squared {
  template <class N>
  N term(N log_p, N log_q) const {
    return (log_p - log_q) * (log_p - log_q);
  }
#ifdef RETORT_OK
  template <class N>
  N pull(N log_p, N log_q) const {
    return N(2) * (log_q - log_p);
  }
#endif
  template <class F>
  void each_field(F&&) const {}
};

int main() {
  const retort::RlGkd<Squared> how;
  return how.group;
}
