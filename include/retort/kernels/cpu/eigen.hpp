#pragma once

/// Eigen, and nothing else: what kernels include instead of <Eigen/Core>.

// GCC before 13 takes the deliberately undefined operands of the AVX-512 intrinsics for mistakes (its bug
// 105593). The state of the warnings where the intrinsics are defined is what counts.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <Eigen/Core>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
