#pragma once

#include <concepts>

#include "retort/core/math.hpp"

/// Activation policies: `value(x)` and `slope(x)` = its derivative, generic over their number.
namespace retort {

template <class A>
concept Activation = requires(const A a, double x) {
  { a.value(x) } -> std::convertible_to<double>;
  { a.slope(x) } -> std::convertible_to<double>;
};

/// max(0, x). T5 v1.0, OPT.
struct Relu {
  static constexpr const char* name = "relu";
  template <class N>
  RETORT_HD N value(N x) const {
    using namespace math;
    return max(x, N(0));
  }
  template <class N>
  RETORT_HD N slope(N x) const {
    using namespace math;
    return select(less(N(0), x), N(1), N(0));
  }
};

/// x Phi(x) with the tanh approximation of Phi (Hendrycks & Gimpel 2016). GPT-2, T5 v1.1.
struct GeluTanh {
  static constexpr const char* name = "gelu_tanh";
  template <class N>
  RETORT_HD N value(N x) const {
    using namespace math;
    return N(0.5) * x * (N(1) + tanh(inner(x)));
  }
  template <class N>
  RETORT_HD N slope(N x) const {
    using namespace math;
    const N t = tanh(inner(x));
    const N inner_slope = N(root) * (N(1) + N(3 * cubic) * x * x);
    return N(0.5) * (N(1) + t) + N(0.5) * x * (N(1) - t * t) * inner_slope;
  }

 private:
  static constexpr double root = 0.7978845608028654;  // sqrt(2 / pi)
  static constexpr double cubic = 0.044715;
  template <class N>
  RETORT_HD static N inner(N x) {
    return N(root) * (x + N(cubic) * x * x * x);
  }
};

/// x Phi(x), Phi the normal distribution function.
struct GeluErf {
  static constexpr const char* name = "gelu_erf";
  template <class N>
  RETORT_HD N value(N x) const {
    using namespace math;
    return N(0.5) * x * (N(1) + erf(x * N(0.7071067811865476)));
  }
  template <class N>
  RETORT_HD N slope(N x) const {
    using namespace math;
    return N(0.5) * (N(1) + erf(x * N(0.7071067811865476))) +
           x * N(0.3989422804014327) * exp(N(-0.5) * x * x);
  }
};

/// x sigmoid(x). LLaMA.
struct Silu {
  static constexpr const char* name = "silu";
  template <class N>
  RETORT_HD N value(N x) const {
    using namespace math;
    return x / (N(1) + exp(-x));
  }
  template <class N>
  RETORT_HD N slope(N x) const {
    using namespace math;
    const N s = N(1) / (N(1) + exp(-x));
    return s * (N(1) + x * (N(1) - s));
  }
};

}  // namespace retort
