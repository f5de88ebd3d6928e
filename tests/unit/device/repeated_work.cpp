// Work that the device is given as a graph.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

using T3 = Tensor<float, CudaDevice>;

/// y += x as often as asked, x uploaded each time.
void add_to(const T3& y, const std::vector<float>& x, int times) {
  for (int t = 0; t < times; ++t) {
    const auto there = T3::from(y.shape(), x);
    kernels::map(CudaDevice{}, Write::accumulate, y.size(), functors::Identity{}, const_cast<T3&>(y).data(),
                 there.data());
  }
}

}  // namespace

TEST_CASE("repeated work has the numbers, sizes and kernels of each time") {
  RETORT_NEED_DEVICE();
  cuda::RepeatedWork work;
  auto y = T3::zeros({5}), wide = T3::zeros({70000});
  std::vector<float> want(5, 0);
  for (int step = 0; step < 6; ++step) {
    const std::vector<float> x{1, 2, 3, 4, static_cast<float>(step)};
    const int times = step < 4 ? 2 : 3;
    work.run([&] { add_to(y, x, times); });
    for (std::size_t i = 0; i < 5; ++i) want[i] += static_cast<float>(times) * x[i];
    CHECK(y.to_host() == want);
  }
  work.run([&] { add_to(wide, std::vector<float>(70000, 2), 1); });
  CHECK(wide.to_host() == std::vector<float>(70000, 2));
  work.run([] {});
}

TEST_CASE("repeated work that throws launches nothing, and the device goes on") {
  RETORT_NEED_DEVICE();
  cuda::RepeatedWork work;
  auto y = T3::zeros({3});
  for (int t = 0; t < 2; ++t) work.run([&] { add_to(y, {1, 2, 3}, 1); });
  CHECK_THROWS_AS(work.run([&] { throw ValueError("enough"); }), ValueError);
  CHECK(y.to_host() == std::vector<float>{2, 4, 6});
  if (cuda::describe_device() != "host executor") {  // which does everything at once
    CHECK_THROWS_AS(work.run([&] {
      add_to(y, {1, 2, 3}, 1);
      (void)y.to_host();
    }),
                    DeviceError);
    CHECK_THROWS_AS(work.run([&] { add_to(y, {1, 2, 3}, 20000); }), DeviceError);  // more than a megabyte
    CHECK(y.to_host() == std::vector<float>{2, 4, 6});
  }
  work.run([&] { add_to(y, {1, 2, 3}, 1); });
  CHECK(y.to_host() == std::vector<float>{3, 6, 9});
}
