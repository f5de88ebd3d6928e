// An optimizer policy changes a parameter.
// expect: an optimizer policy needs name, each_field\(f\), state_of\(shape\) and update\(parameter, state,
// step\)
#include "retort/optim/optimizer.hpp"

using namespace retort;

struct Descent {
  static constexpr const char* name = "descent";
  double learning_rate = 0.1;
  std::vector<StateTensor> state_of(const Shape&) const { return {}; }
#ifdef RETORT_OK
  template <Backend B>
  void update(Parameter<B>&, std::span<TensorOf<B>>, const UpdateStep&) const {}
#endif
  template <class F>
  void each_field(F&& f) const {
    f("learning_rate", learning_rate);
  }
};

int main() {
  Optimizer<Descent, Cpu<float>> optimizer(Descent{}, {});
  return static_cast<int>(optimizer.steps());
}
