#include "retort/core/parallel.hpp"

#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "numbers.hpp"

using namespace retort;
using test::Threads;

TEST_CASE("parallel_for visits every item once, whatever the count, grain and number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads scope(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 100, 1001})
      for (const std::int64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& v) { return v == 1; }));
      }
  }
}

TEST_CASE("parallel_each visits every item once") {
  for (const int threads : {1, 2, 5}) {
    const Threads scope(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 300}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      parallel_each(count, 1, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
      CHECK(std::all_of(visits.begin(), visits.end(), [](const auto& v) { return v == 1; }));
    }
  }
}

TEST_CASE("parallel_for cuts contiguous pieces of at least the grain") {
  const Threads scope(4);
  std::mutex mutex;
  std::set<std::pair<std::int64_t, std::int64_t>> pieces;
  parallel_for(103, 30, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(mutex);
    pieces.insert({begin, end});
  });
  std::int64_t at = 0;
  for (const auto& [begin, end] : pieces) {
    CHECK(begin == at);
    CHECK(end - begin >= 30);
    at = end;
  }
  CHECK(at == 103);
}

TEST_CASE("an exception inside a parallel loop arrives outside, and the loop works again afterwards") {
  for (const int threads : {1, 4}) {
    const Threads scope(threads);
    CHECK_THROWS_AS(parallel_for(100, 1,
                                 [](std::int64_t begin, std::int64_t end) {
                                   if (begin <= 60 && 60 < end) throw std::out_of_range("60");
                                 }),
                    std::out_of_range);
    CHECK_THROWS_AS(parallel_each(100, 1,
                                  [](std::int64_t i) {
                                    if (i == 60) throw std::out_of_range("60");
                                  }),
                    std::out_of_range);
    std::atomic<int> calls = 0;
    parallel_each(10, 1, [&](std::int64_t) { ++calls; });
    CHECK(calls == 10);
  }
}

TEST_CASE("when every piece throws, one of the exceptions arrives") {
  const Threads scope(4);
  CHECK_THROWS_AS(parallel_for(8, 1, [](std::int64_t, std::int64_t) { throw std::runtime_error("x"); }),
                  std::runtime_error);
}

TEST_CASE("a loop inside a loop runs on the thread that meets it") {
  const Threads scope(4);
  std::atomic<int> sum = 0;
  std::atomic<bool> stayed = true;
  parallel_each(8, 1, [&](std::int64_t) {
    const int me = thread_index();
    if (thread_count() > 1 && !in_parallel()) stayed = false;
    parallel_for(100, 1, [&](std::int64_t begin, std::int64_t end) {
      if (thread_index() != me || begin != 0 || end != 100) stayed = false;
      sum += static_cast<int>(end - begin);
    });
    parallel_each(5, 1, [&](std::int64_t) {
      if (thread_index() != me) stayed = false;
      ++sum;
    });
  });
  CHECK(stayed);
  CHECK(sum == 8 * 105);
  CHECK_FALSE(in_parallel());
  CHECK(thread_index() == 0);
}

TEST_CASE("set_thread_count holds for the loops that follow and takes no less than one thread") {
  const Threads scope(3);
#if defined(_OPENMP)
  CHECK(thread_count() == 3);
#endif
  set_thread_count(0);
  CHECK(thread_count() == 1);
}
