// An activation has a derivative.
// expect: Mlp: an activation needs value\(x\) and slope\(x\), its derivative
#include "retort/nn/feed_forward.hpp"

struct Square {
  template <class N>
  N value(N x) const {
    return x * x;
  }
#ifdef RETORT_OK
  template <class N>
  N slope(N x) const {
    return N(2) * x;
  }
#endif
};

int main() {
  const retort::nn::Mlp<retort::Cpu<float>, Square> layer("ff", 4, 8, false);
  return layer.up.bias ? 1 : 0;
}
