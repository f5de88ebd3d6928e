#pragma once

#include "retort/core/math.hpp"

/// The functions that pointwise kernels apply, generic over their number like all policies. They have names,
/// since a GPU's kernels are compiled ahead for each of them (kernels/cuda/map.cu).
namespace retort::functors {

struct Identity {
  template <class N>
  RETORT_HD N operator()(N x) const {
    return x;
  }
};

struct Negate {
  template <class N>
  RETORT_HD N operator()(N x) const {
    return -x;
  }
};

struct Square {
  template <class N>
  RETORT_HD N operator()(N x) const {
    return x * x;
  }
};

/// The same number, whatever the argument.
struct Constant {
  double value = 0;
  template <class N>
  RETORT_HD N operator()(N) const {
    return N(value);
  }
};

/// factor * x.
struct Times {
  double factor = 1;
  template <class N>
  RETORT_HD N operator()(N x) const {
    return x * N(factor);
  }
};

struct Add {
  template <class N>
  RETORT_HD N operator()(N a, N b) const {
    return a + b;
  }
};

struct Subtract {
  template <class N>
  RETORT_HD N operator()(N a, N b) const {
    return a - b;
  }
};

struct Multiply {
  template <class N>
  RETORT_HD N operator()(N a, N b) const {
    return a * b;
  }
};

/// A step of gradient descent with weight decay: w - rate (scale g + decay w).
struct Descend {
  double rate = 0, scale = 1, decay = 0;
  template <class N>
  RETORT_HD N operator()(N w, N g) const {
    return w - N(rate) * (N(scale) * g + N(decay) * w);
  }
};

/// activation(x).
template <class A>
struct Activate {
  A activation;
  template <class N>
  RETORT_HD N operator()(N x) const {
    return activation.value(x);
  }
};

/// The gradient of activation(x) from that of its value.
template <class A>
struct ActivateGradient {
  A activation;
  template <class N>
  RETORT_HD N operator()(N dy, N x) const {
    return dy * activation.slope(x);
  }
};

/// activation(gate) * value.
template <class A>
struct Gated {
  A activation;
  template <class N>
  RETORT_HD N operator()(N gate, N value) const {
    return activation.value(gate) * value;
  }
};

/// The gradient of activation(gate) * value to the gate.
template <class A>
struct GatedGradient {
  A activation;
  template <class N>
  RETORT_HD N operator()(N dy, N gate, N value) const {
    return dy * activation.slope(gate) * value;
  }
};

/// The gradient of activation(gate) * value to the value.
template <class A>
struct GatedValueGradient {
  A activation;
  template <class N>
  RETORT_HD N operator()(N dy, N gate) const {
    return dy * activation.value(gate);
  }
};

}  // namespace retort::functors
