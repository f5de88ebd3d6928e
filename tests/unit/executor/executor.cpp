#include "executor/executor.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "retort/kernels/cuda/launch.cuh"

using namespace retort;
using Catch::Matchers::Contains;
using executor::KernelError;
using executor::launch;

namespace {

constexpr unsigned all_lanes = 0xffffffff;

/// What the block's threads sum up to, in all of them. `with_barrier` false leaves out the one before the
/// sums of the warps are read.
template <bool with_barrier>
__device__ __forceinline__ float block_sum(float value) {
  RETORT_SHARED(float, sums, 32);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(all_lanes, value, lanes);
  __syncthreads();  // the sums before this one have been read
  if (lane == 0) sums[warp] = value;
  if constexpr (with_barrier) __syncthreads();
  float sum = 0;
  for (unsigned w = 0; w < warps; ++w) sum += sums[w];
  return sum;
}

/// y (rows, columns) = softmax of the rows of x, a block a row; dynamic shared memory holds a row.
template <bool with_barrier>
__global__ void __launch_bounds__(128) softmax_kernel(const float* x, float* y, int columns) {
  auto* row = cuda::dynamic_shared<float>();
  RETORT_SHARED(float, largest, 4);
  x += blockIdx.x * static_cast<std::size_t>(columns);
  y += blockIdx.x * static_cast<std::size_t>(columns);
  const auto first = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
  float most = -INFINITY;
  for (int i = first; i < columns; i += step) most = fmaxf(most, __ldg(x + i));
  for (unsigned delta = 16; delta > 0; delta /= 2)
    most = fmaxf(most, __shfl_down_sync(all_lanes, most, delta));
  if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / 32; ++w) most = fmaxf(w == 0 ? largest[0] : most, largest[w]);
  float sum = 0;
  for (int i = first; i < columns; i += step) sum += row[i] = __expf(x[i] - most);
  sum = block_sum<with_barrier>(sum);
  for (int i = columns - 1 - first; i >= 0; i -= step) y[i] = row[i] / sum;  // as others have written it
}

/// The largest absolute difference of the kernel from the definition in double, NaN if there is one; over 3
/// rows.
template <bool with_barrier>
double softmax_error() {
  const int rows = 3, columns = 200;
  std::vector<float> x(rows * columns), y(rows * columns);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 3 * std::sin(static_cast<float>(7 * i));
  launch(softmax_kernel<with_barrier>, rows, 128, columns * sizeof(float), x.data(), y.data(), columns);
  double worst = 0;
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < columns; ++i) sum += std::exp(static_cast<double>(x[r * columns + i]));
    for (int i = 0; i < columns; ++i) {
      const double error =
          std::abs(std::exp(static_cast<double>(x[r * columns + i])) / sum - y[r * columns + i]);
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

/// The message of the error of body() run by `threads` threads.
template <class Body>
__global__ void body_kernel(Body body) {
  body();
}
template <class Body>
std::string error_of(dim3 threads, Body body, std::size_t shared = 0, dim3 grid = 1) {
  return test::message_of<KernelError>([&] { launch(body_kernel<Body>, grid, threads, shared, body); });
}

}  // namespace

TEST_CASE("a softmax with shuffles and shared memory is right in every order of the threads") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    executor::set_seed(seed);
    CHECK(softmax_error<true>() < 1e-6);
  }
}

TEST_CASE("a softmax without one of its barriers is wrong in some order of the threads") {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    executor::set_seed(seed);
    wrong += !(softmax_error<false>() < 1e-3);
  }
  CHECK(wrong > 5);
}

namespace {

/// Every thread's number in the order in which they came here, before the barrier and after it.
__global__ void arrivals_kernel(unsigned* before, unsigned* after, unsigned* counts) {
  before[atomicAdd(counts, 1u)] = threadIdx.x;
  __syncthreads();
  after[atomicAdd(counts + 1, 1u)] = threadIdx.x;
}

struct Arrivals {
  std::vector<unsigned> before = std::vector<unsigned>(96), after = before;
  explicit Arrivals(std::uint64_t seed) {
    unsigned counts[2] = {};
    executor::set_seed(seed);
    launch(arrivals_kernel, 1, 96, 0, before.data(), after.data(), counts);
  }
};

}  // namespace

TEST_CASE("the seed decides the order of the threads, which is another after each barrier") {
  const Arrivals one(1), again(1), two(2);
  CHECK(one.before == again.before);
  CHECK(one.after == again.after);
  CHECK(one.before != two.before);
  CHECK(one.before != one.after);
  auto sorted = one.after;
  std::sort(sorted.begin(), sorted.end());
  for (unsigned i = 0; i < 96; ++i) CHECK(sorted[i] == i);
}

TEST_CASE("threads that wait for nobody take no switch of stacks each") {
  const executor::Statistics before = executor::statistics();
  std::vector<int> hits(5 * 64);
  const auto body = [p = hits.data()] { ++p[blockIdx.x * blockDim.x + threadIdx.x]; };
  launch(body_kernel<decltype(body)>, 5, 64, 0, body);
  CHECK(hits == std::vector<int>(5 * 64, 1));
  const executor::Statistics after = executor::statistics();
  CHECK(after.launches - before.launches == 1);
  CHECK(after.blocks - before.blocks == 5);
  CHECK(after.threads - before.threads == 5 * 64);
  CHECK(after.switches - before.switches == 5 * 2);
}

TEST_CASE("threads and blocks have the indices of three dimensions") {
  const dim3 grid(3, 2, 2), block(4, 5, 3);
  std::vector<int> visits(3 * 2 * 2 * 4 * 5 * 3);
  const auto body = [p = visits.data()] {
    const unsigned x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y,
                   z = blockIdx.z * blockDim.z + threadIdx.z;
    p[(z * gridDim.y * blockDim.y + y) * gridDim.x * blockDim.x + x] +=
        threadIdx.x < 4 && threadIdx.y < 5 && threadIdx.z < 3;
  };
  launch(body_kernel<decltype(body)>, grid, block, 0, body);
  CHECK(visits == std::vector<int>(visits.size(), 1));
}

TEST_CASE("lanes are numbered along x, then y, then z") {
  std::vector<unsigned> first(64);
  const auto body = [p = first.data()] {
    const unsigned number = threadIdx.x + 8 * (threadIdx.y + 4 * threadIdx.z);
    p[number] = __shfl_sync(all_lanes, number, 0);
  };
  launch(body_kernel<decltype(body)>, 1, dim3(8, 4, 2), 0, body);
  for (unsigned i = 0; i < 64; ++i) CHECK(first[i] == i / 32 * 32);
}

TEST_CASE("shuffles take the value of the lane that CUDA's manual names") {
  struct Row {
    int idx, up, down, exclusive_or, narrow_idx, narrow_up, narrow_down, narrow_xor;
    double wide;
  };
  std::vector<Row> rows(32);
  const auto body = [p = rows.data()] {
    const auto lane = static_cast<int>(threadIdx.x);
    p[lane] = {__shfl_sync(all_lanes, lane, lane + 40), __shfl_up_sync(all_lanes, lane, 3),
               __shfl_down_sync(all_lanes, lane, 3),    __shfl_xor_sync(all_lanes, lane, 5),
               __shfl_sync(all_lanes, lane, 9, 8),      __shfl_up_sync(all_lanes, lane, 3, 8),
               __shfl_down_sync(all_lanes, lane, 3, 8), __shfl_xor_sync(all_lanes, lane, 8, 8),
               __shfl_sync(all_lanes, lane + 0.5, 31)};
  };
  launch(body_kernel<decltype(body)>, 1, 32, 0, body);
  for (int i = 0; i < 32; ++i) {
    const Row& row = rows[static_cast<std::size_t>(i)];
    CHECK(row.idx == (i + 40) % 32);
    CHECK(row.up == (i < 3 ? i : i - 3));
    CHECK(row.down == (i > 28 ? i : i + 3));
    CHECK(row.exclusive_or == (i ^ 5));
    CHECK(row.narrow_idx == i / 8 * 8 + 1);
    CHECK(row.narrow_up == (i % 8 < 3 ? i : i - 3));
    CHECK(row.narrow_down == (i % 8 > 4 ? i : i + 3));
    CHECK(row.narrow_xor == (i & 8 ? i - 8 : i));  // later segments cannot be read, earlier ones can
    CHECK(row.wide == 31.5);
  }
}

TEST_CASE("parts of a warp shuffle and vote on their own, then together") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    executor::set_seed(seed);
    std::vector<unsigned> sums(32), votes(32);
    std::vector<int> any(32), all(32);
    const auto body = [s = sums.data(), v = votes.data(), any = any.data(), all = all.data()] {
      const unsigned lane = threadIdx.x;
      unsigned sum = lane;
      if (lane < 16) {
        for (int lanes = 8; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0x0000ffffu, sum, lanes);
      } else {
        for (int lanes = 4; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffff0000u, sum, lanes);
        __syncwarp(0xffff0000u);
      }
      v[lane] = __ballot_sync(all_lanes, sum > 120);
      any[lane] = __any_sync(all_lanes, lane == 7);
      all[lane] = __all_sync(all_lanes, lane != 7);
      s[lane] = sum;
    };
    launch(body_kernel<decltype(body)>, 1, 32, 0, body);
    for (unsigned i = 0; i < 32; ++i) {
      CHECK(sums[i] == (i < 16 ? 120 : i < 24 ? 156 : 220));
      CHECK(votes[i] == 0xffff0000u);
      CHECK(any[i] == 1);
      CHECK(all[i] == 0);
    }
  }
}

TEST_CASE("a shuffle from a lane that does not take part gives all bits set") {
  float value = 0;
  const auto body = [p = &value] {
    if (threadIdx.x < 4 && isnan(__shfl_sync(0xfu, 1.f, 9))) *p += 1;
  };
  launch(body_kernel<decltype(body)>, 1, 32, 0, body);
  CHECK(value == 4);
}

TEST_CASE("threads that have ended do not take part in a barrier") {
  int after = 0;
  const auto body = [p = &after] {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    __syncthreads();
    ++*p;
  };
  launch(body_kernel<decltype(body)>, 1, 64, 0, body);
  CHECK(after == 40);
}

TEST_CASE("threads that wait for ever are reported with where they wait") {
  const auto mixed = [] {
    if (threadIdx.x < 32)
      __syncthreads();
    else if (threadIdx.x < 63)
      __syncwarp();
    else
      __syncthreads();
  };
  CHECK_THAT(
      error_of(64, mixed),
      Contains("deadlock: ") &&
          Contains("32 threads, the first (0, 0, 0), wait at __syncthreads (executor.cpp:") &&
          Contains(
              "31 threads, the first (32, 0, 0), wait at __syncwarp with mask 0xffffffff (executor.cpp:") &&
          Contains("1 threads, the first (63, 0, 0), wait at __syncthreads (executor.cpp:"));
  const auto two_barriers = [] {
    if (threadIdx.x % 2)
      __syncthreads();
    else
      __syncthreads();
  };
  CHECK_THAT(error_of(64, two_barriers), Contains("waits elsewhere, at __syncthreads (executor.cpp:"));
  const auto two_primitives = [] {
    if (threadIdx.x % 2)
      __ballot_sync(all_lanes, 1);
    else
      __syncwarp();
  };
  CHECK_THAT(error_of(32, two_primitives), Contains("waits elsewhere, at __"));
}

TEST_CASE("a mask that names the wrong lanes is reported") {
  CHECK_THAT(error_of(dim3(16, 4),
                      [] {
                        if (threadIdx.y == 1 && threadIdx.x == 4) __shfl_sync(0xffffu, 1, 0);
                      }),
             Contains("block (0, 0, 0), thread (4, 1, 0): __shfl_sync with mask 0x0000ffff") &&
                 Contains("does not name the calling lane"));
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    executor::set_seed(seed);
    CHECK_THAT(error_of(32,
                        [] {
                          if (threadIdx.x != 7) __shfl_xor_sync(all_lanes, 1, 1);
                        }),
               Contains("the mask names lane 7, which has ended"));
  }
  CHECK_THAT(error_of(20, [] { __ballot_sync(all_lanes, 1); }),
             Contains("__ballot_sync") && Contains("the mask names lane 20, which the block does not have"));
  CHECK_THAT(error_of(32, [] { __shfl_sync(all_lanes, 1, 0, 12); }), Contains("a power of two"));
}

TEST_CASE("grids, blocks and shared memory that a GPU does not have are reported") {
  const auto nothing = [] {};
  CHECK_THAT(error_of(dim3(1025), nothing), Contains("a block of (1025, 1, 1) threads"));
  CHECK_THAT(error_of(dim3(32, 33), nothing), Contains("a block of (32, 33, 1) threads"));
  CHECK_THAT(error_of(dim3(2, 2, 65), nothing), Contains("a block of (2, 2, 65) threads"));
  CHECK_THAT(error_of(dim3(0), nothing), Contains("a block of (0, 1, 1) threads"));
  CHECK_THAT(error_of(1, nothing, 0, dim3(1, 0)), Contains("a grid of (1, 0, 1) blocks"));
  CHECK_THAT(error_of(1, nothing, 0, dim3(1, 65536)), Contains("a grid of (1, 65536, 1) blocks"));
  CHECK_THAT(error_of(1, nothing, 0, dim3(1, 1, 65536)), Contains("a grid of (1, 1, 65536) blocks"));
  CHECK(error_of(1024, nothing, 227 * 1024, dim3(1, 2, 2)) == "no error");
  CHECK_THAT(error_of(1, nothing, 227 * 1024 + 1), Contains("232449 bytes of dynamic shared memory"));
  const auto declare = [] {
    RETORT_SHARED(float, half, 6 * 1024);
    RETORT_SHARED(double, rest, 3 * 1024);
    half[0] = 1;
    rest[0] = 1;
  };
  CHECK(error_of(64, declare, 179 * 1024) == "no error");
  CHECK_THAT(error_of(64, declare, 179 * 1024 + 1),
             Contains("24576 bytes beside 24576 of static and 183297 of dynamic"));
  CHECK_THAT(error_of(64,
                      [] {
                        RETORT_SHARED(char, bytes, 48 * 1024 + 1);
                        bytes[0] = 1;
                      }),
             Contains("an array of 49153 bytes"));
}

TEST_CASE("device code outside of a kernel and a launch inside one are reported") {
  CHECK(test::message_of<KernelError>([] { __syncthreads(); }) ==
        "device code was called outside of a kernel");
  const auto nothing = [] {};
  CHECK_THAT(error_of(1, [nothing] { launch(body_kernel<decltype(nothing)>, 1, 1, 0, nothing); }),
             Contains("a kernel cannot launch a kernel"));
}

TEST_CASE("shared memory is full of NaN in every block, and each declaration has its own") {
  unsigned wrong = 0;
  const auto body = [p = &wrong] {
    RETORT_SHARED(float, numbers, 64);
    RETORT_SHARED(int, integers, 64);
    auto* dynamic = executor::dynamic_shared<float4>();
    const unsigned i = threadIdx.x;
    *p += reinterpret_cast<std::uintptr_t>(dynamic) % 16 != 0;
    *p += !std::isnan(numbers[i]) || integers[i] != -1 || !std::isnan(dynamic[i].w);
    numbers[i] = 1;
    integers[i] = 2;
    dynamic[i] = make_float4(3, 4, 5, 6);
    __syncthreads();
    *p += numbers[63 - i] != 1 || integers[63 - i] != 2 || dynamic[63 - i].y != 4;
  };
  for (int i = 0; i < 2; ++i) launch(body_kernel<decltype(body)>, 4, 64, 64 * sizeof(float4), body);
  CHECK(wrong == 0);
}

TEST_CASE("an exception in a kernel arrives at the launch, and the next launch works") {
  const auto owner = std::make_shared<int>(0);
  const auto* const p = &owner;
  const auto body = [p] {
    const std::shared_ptr<int> held = *p;  // given back when the stacks of the others are unwound
    if (threadIdx.x < 50) __syncthreads();
    if (threadIdx.x == 60) throw std::out_of_range("thread 60");
    __syncthreads();
  };
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    executor::set_seed(seed);
    CHECK(test::message_of<std::out_of_range>([&] { launch(body_kernel<decltype(body)>, 2, 64, 0, body); }) ==
          "thread 60");
    CHECK(owner.use_count() == 1);
    CHECK(softmax_error<true>() < 1e-6);
  }
}

TEST_CASE("atomics give the value before and leave the one after") {
  struct Numbers {
    int i = 5, least = 5, most = 5;
    unsigned u = 6, bits = 1, lock = 0;
    unsigned long long w = 1ull << 40;
    float f = 0.5f;
    double d = 0.25;
    int befores = 0, taken = 0;
  } n;
  const auto body = [p = &n] {
    const auto i = static_cast<int>(threadIdx.x);
    p->befores += atomicAdd(&p->i, 2) - 5;
    atomicAdd(&p->u, 1);
    atomicAdd(&p->w, 1);
    atomicAdd(&p->f, 0.25f);
    atomicAdd(&p->d, 1);
    atomicMin(&p->least, -i);
    atomicMax(&p->most, i);
    atomicOr(&p->bits, 1u << i);
    if (atomicCAS(&p->lock, 0, threadIdx.x + 1) == 0) ++p->taken;
  };
  launch(body_kernel<decltype(body)>, 1, 32, 0, body);
  CHECK(n.i == 5 + 64);
  CHECK(n.befores == 2 * 31 * 32 / 2);
  CHECK(n.u == 38);
  CHECK(n.w == (1ull << 40) + 32);
  CHECK(n.f == 8.5f);
  CHECK(n.d == 32.25);
  CHECK(n.least == -31);
  CHECK(n.most == 31);
  CHECK(n.bits == all_lanes);
  CHECK(n.taken == 1);
  float x = 1;
  CHECK(atomicExch(&x, 2.f) == 1);
  CHECK(x == 2);
  int largest = std::numeric_limits<int>::max();
  atomicAdd(&largest, 1);
  CHECK(largest == std::numeric_limits<int>::min());
}

TEST_CASE("the functions of single numbers are CUDA's") {
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__popcll(~0ull) == 64);
  CHECK(__clz(0) == 32);
  CHECK(__clz(1) == 31);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__float_as_uint(1.f) == 0x3f800000u);
  CHECK(__uint_as_float(0xbf800000u) == -1);
  CHECK(__float_as_int(-0.f) == std::numeric_limits<int>::min());
  CHECK(__int_as_float(0x40000000) == 2);
  CHECK(rsqrtf(4.f) == 0.5f);
  CHECK(__expf(1.f) == Approx(std::exp(1.)));
  CHECK(__logf(2.f) == Approx(std::log(2.)));
  CHECK(__fdividef(1, 4) == 0.25f);
}
