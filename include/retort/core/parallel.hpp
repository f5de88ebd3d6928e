#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#if defined(_OPENMP)
#include <omp.h>
#endif

/// The thread loop. Results never depend on the number of threads: a kernel splits independent outputs, not
/// sums.
namespace retort {

/// Threads that a parallel loop may use (OMP_NUM_THREADS, or all cores).
[[nodiscard]] inline int thread_count() {
#if defined(_OPENMP)
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// Sets the number of threads of the loops that follow.
inline void set_thread_count([[maybe_unused]] int threads) {
#if defined(_OPENMP)
  omp_set_num_threads(std::max(1, threads));
#endif
}

/// Number of the calling thread inside a parallel loop, 0 outside.
[[nodiscard]] inline int thread_index() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

/// True inside a parallel loop: nested loops run on one thread.
[[nodiscard]] inline bool in_parallel() {
#if defined(_OPENMP)
  return omp_in_parallel() != 0;
#else
  return false;
#endif
}

namespace detail {

/// Keeps an exception that a thread of a parallel loop threw (it must not leave the loop), to rethrow it
/// after the loop.
class LoopError {
 public:
  template <class Body>
  void guard(Body&& body) {
    try {
      body();
    } catch (...) {
#if defined(_OPENMP)
#pragma omp critical(retort_parallel_error)
#endif
      error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

}  // namespace detail

/// Calls `body(begin, end)` on contiguous pieces of [0, count), one a thread. Less than `grain` items a
/// thread are not worth a thread. One of the exceptions of the pieces is rethrown here.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t grain, Body&& body) {
  const auto pieces = std::min<std::int64_t>(thread_count(), count / std::max<std::int64_t>(1, grain));
  if (pieces <= 1 || in_parallel()) {
    if (count > 0) body(std::int64_t{0}, count);
    return;
  }
  detail::LoopError error;
#if defined(_OPENMP)
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(pieces))
#endif
  for (std::int64_t piece = 0; piece < pieces; ++piece)
    error.guard([&] { body(count * piece / pieces, count * (piece + 1) / pieces); });
  error.rethrow();
}

/// Calls `body(i)` for every i of [0, count); threads take the next item when they are free, so that items
/// may differ in cost. Less than `grain` items a thread are not worth a thread.
template <class Body>
void parallel_each(std::int64_t count, std::int64_t grain, Body&& body) {
  const auto threads = std::min<std::int64_t>(thread_count(), count / std::max<std::int64_t>(1, grain));
  if (threads <= 1 || in_parallel()) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  detail::LoopError error;
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) num_threads(static_cast <int>(threads))
#endif
  for (std::int64_t i = 0; i < count; ++i) error.guard([&] { body(i); });
  error.rethrow();
}

}  // namespace retort
