#pragma once

/// `RETORT_HD` marks the functions that run on the host and inside device kernels: policy functors, scalar
/// maths.
#if defined(__CUDACC__)
#define RETORT_HD __host__ __device__
#else
#define RETORT_HD
#endif
