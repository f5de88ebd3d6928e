#include "retort/tensor/pool.hpp"

#include <thread>
#include <vector>

#include "catch.hpp"
#include "numbers.hpp"
#include "retort/tensor/tensor.hpp"

using namespace retort;

namespace {

using FloatTensor = Tensor<float, CpuDevice>;

PoolStatistics now() {
  return Pool<CpuDevice>::instance().statistics();
}

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t guard = 64;  // bytes that nobody may touch, behind each block
#else
constexpr std::size_t guard = 0;
#endif

/// What a training step does to the pool: buffers of many sizes that live for different times.
void step(std::uint64_t seed, double largest = 60'000) {
  const RandomKey key{seed, 1};
  std::vector<FloatTensor> alive;
  for (std::uint64_t i = 0; i < 200; ++i) {
    alive.emplace_back(Shape{static_cast<Index>(1 + key.uniform(2 * i) * largest)});
    if (alive.size() > 20)
      alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(key.uniform(2 * i + 1) * 20));
  }
}

}  // namespace

TEST_CASE("the pool counts what is handed out and what is kept") {
  Pool<CpuDevice>::instance().trim();
  const auto before = now();
  CHECK(before.cached == 0);
  {
    const FloatTensor t({1000});
    CHECK(now().in_use >= before.in_use + 4000);
    CHECK(now().in_use <= before.in_use + 5000);
    CHECK(now().system_allocations == before.system_allocations + 1);
  }
  CHECK(now().in_use == before.in_use);
  CHECK(now().cached >= 4000);
  Pool<CpuDevice>::instance().trim();
  CHECK(now().cached == 0);
}

TEST_CASE("what was given back is used again, cut to size and merged with its neighbours") {
  Pool<CpuDevice>::instance().trim();
  const float* place = FloatTensor({10'000}).data();
  const auto before = now().system_allocations;
  CHECK(FloatTensor({10'000}).data() == place);
  CHECK(FloatTensor({9'900}).data() == place);
  {
    const FloatTensor first({4'000}), second({4'000});  // two out of one
    CHECK(first.data() == place);
    CHECK(second.data() == place + 4'000 + guard / sizeof(float));
  }
  CHECK(FloatTensor({10'000}).data() == place);  // and one out of two
  CHECK(now().system_allocations == before);
  const FloatTensor large({10'100});
  CHECK(now().system_allocations == before + 1);
}

TEST_CASE("a hole goes to the request that fits it best") {
  Pool<CpuDevice>::instance().trim();
  FloatTensor wide({3'000}), wall({16}), narrow({1'000});
  const FloatTensor end({16});
  const float *in_wide = wide.data(), *in_narrow = narrow.data();
  wide = narrow = {};
  CHECK(FloatTensor({900}).data() == in_narrow);
  CHECK(FloatTensor({1'100}).data() == in_wide);
}

TEST_CASE("after the first few steps the system is not asked again, step after equal step") {
  Pool<CpuDevice>::instance().trim();
  for (int i = 0; i < 3; ++i)
    step(7);  // a hole may go to a smaller request first: a second step may miss one
  const auto before = now();
  for (int i = 0; i < 20; ++i) step(7);
  CHECK(now().system_allocations == before.system_allocations);
  CHECK(now().in_use == before.in_use);
  CHECK(now().cached == before.cached);
}

TEST_CASE("steps of ever different sizes ask less and less, and the cache stays bounded") {
  Pool<CpuDevice>::instance().trim();
  for (std::uint64_t i = 0; i < 50; ++i) step(100 + i);
  const auto warm = now();
  for (std::uint64_t i = 50; i < 100; ++i) step(100 + i);
  CHECK(now().system_allocations - warm.system_allocations <= 50);  // of 10,000 requests
  CHECK(now().cached <= 2 * warm.cached);
  CHECK(now().in_use == warm.in_use);
}

TEST_CASE("however sizes vary, the pool holds at most a quarter and 64 MiB more than was ever in use") {
  auto& pool = Pool<CpuDevice>::instance();
  pool.trim();
  pool.reset_peak();
  for (std::uint64_t i = 0; i < 15; ++i) {
    step(i, 8e6);  // more than the other tests here ask for
    CHECK(now().cached + now().in_use <= now().peak_in_use / 4 * 5 + (64 << 20));
  }
}

TEST_CASE("peak_in_use is the most that was handed out at a time since it was reset") {
  auto& pool = Pool<CpuDevice>::instance();
  pool.reset_peak();
  const auto base = now().in_use;
  CHECK(now().peak_in_use == base);
  {
    const FloatTensor a({100'000});
    { const FloatTensor b({200'000}); }
    const FloatTensor c({50'000});
  }
  CHECK(now().peak_in_use >= base + 1'200'000);
  CHECK(now().peak_in_use <= base + 1'200'000 * 5 / 4);
  pool.reset_peak();
  CHECK(now().peak_in_use == now().in_use);
}

TEST_CASE("a block is at most 63 bytes larger than asked for") {
  for (Index n = 1; n < 40'000'000; n = n * 21 / 20 + 1) {
    const auto before = now().in_use;
    const FloatTensor t({n});
    const auto given = now().in_use - before;
    CHECK(given >= static_cast<std::size_t>(n) * 4);
    CHECK(given < static_cast<std::size_t>(n) * 4 + 64 + guard);
    CHECK(reinterpret_cast<std::uintptr_t>(t.data()) % 64 == 0);
  }
}

TEST_CASE("trimmed memory comes back empty: its pages were given away") {
  auto& pool = Pool<CpuDevice>::instance();
  pool.trim();
  constexpr Index n = 8'000'000;
  const float* place = nullptr;
  {
    const auto t = FloatTensor::full({n}, 1);
    place = t.data();
  }
  pool.trim();
  const FloatTensor again({n});
  REQUIRE(again.data() == place);
  CHECK(std::as_const(again).data()[n / 2] == 0);
}

TEST_CASE("a request that the machine cannot fulfil is a DeviceError with the numbers") {
#if defined(__SANITIZE_ADDRESS__)
  RETORT_SKIP("the address sanitizer ends the program instead");
#endif
  const auto message = test::message_of<DeviceError>([] { FloatTensor t({Index{1} << 50}); });
  CHECK(message.find("[allocate] 4503599627370496 bytes are not to be had on the cpu") == 0);
  CHECK(FloatTensor::full({3}, 1).size() == 3);
}

TEST_CASE("threads may allocate and release at once, also each other's tensors") {
  const auto before = now().in_use;
  std::vector<FloatTensor> handed_over(8);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      step(i);
      handed_over[i] = FloatTensor::full({1000}, static_cast<float>(i));
    });
  for (auto& t : threads) t.join();
  for (std::size_t i = 0; i < 8; ++i) CHECK(handed_over[i].data()[999] == static_cast<float>(i));
  handed_over.clear();
  CHECK(now().in_use == before);
}
