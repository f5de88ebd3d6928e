#pragma once

#include "retort/core/math.hpp"

/// Both Kullback-Leibler divergences by their definitions, written here on purpose: what drives a divergence
/// is tested with them, not the library's own.
namespace retort::test {

/// KL(p || q), q the student's.
struct TeacherToStudent {
  template <class N>
  N term(N log_p, N log_q) const {
    using namespace math;
    return times_or_zero(exp(log_p), log_p - log_q);
  }
  template <class N>
  N pull(N log_p, N) const {
    using namespace math;
    return -exp(log_p);
  }
};

/// KL(q || p).
struct StudentToTeacher {
  template <class N>
  N term(N log_p, N log_q) const {
    using namespace math;
    return times_or_zero(exp(log_q), log_q - log_p);
  }
  template <class N>
  N pull(N log_p, N log_q) const {
    using namespace math;
    return times_or_zero(exp(log_q), log_q - log_p + N(1));
  }
};

}  // namespace retort::test
