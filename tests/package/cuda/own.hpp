#pragma once

#include <retort/core/math.hpp>

/// x^3.
struct Cube {
  template <class N>
  RETORT_HD N operator()(N x) const {
    return x * x * x;
  }
};
