// An op's operands are on one device.
// expect: no matching function for call to .*add
#include "retort/ops/arithmetic.hpp"

using namespace retort;

#ifdef RETORT_OK
using Other = Cuda<float>;
#else
using Other = Cpu<float>;
#endif

int main() {
  const Variable<Cuda<float>> x(TensorOf<Cuda<float>>({2, 3}));
  const Variable<Other> y(TensorOf<Other>({2, 3}));
  return static_cast<int>(add(x, y).shape().size());
}
