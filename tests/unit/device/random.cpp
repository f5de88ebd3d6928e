// Random fills and dropout of the CUDA device: the CPU's numbers.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {
constexpr Index sizes[] = {0, 1, 7, 17, 33, 64, 130, 1000, 5003};
}

TEMPLATE_TEST_CASE("random fills of the device are the CPU's numbers", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const RandomKey key{5, 0x123456789abcull};
  for (const Index n : sizes) {
    std::vector<float> normal(static_cast<std::size_t>(n)), uniform(normal);
    kernels::fill_normal(CpuDevice{}, key, n, 0.5f, 2.0f, normal.data());
    kernels::fill_uniform(CpuDevice{}, key, n, -1.0f, 3.0f, uniform.data());
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      auto x = Uploaded<T>::room(n, 1), y = Uploaded<T>::room(n, 1);
      kernels::fill_normal<T>(CudaDevice{}, key, n, 0.5f, 2.0f, x);
      kernels::fill_uniform<T>(CudaDevice{}, key, n, -1.0f, 3.0f, y);
      return {x.now(), y.now()};
    });
    // In float all but the last bit, which a GPU's logarithm and a fused product may round otherwise.
    const double tolerance = sizeof(T) == 4 ? 2e-7 : 4e-3;
    INFO(n << " numbers");
    CHECK(error_of(got[0], Numbers(normal.begin(), normal.end())) <= tolerance);
    CHECK(error_of(got[1], Numbers(uniform.begin(), uniform.end())) <= tolerance);
  }
}

TEMPLATE_TEST_CASE("dropout on the device drops what the CPU's does", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const RandomKey key{7, 9};
  for (const Index n : sizes)
    for (const double p : {0.0, 0.1, 0.5, 0.9})
      for (const auto write : {Write::overwrite, Write::accumulate}) {
        const auto x = Uploaded<T>::normal(n, 1, 1, 1);
        const auto before = normals<double>(n, 2);
        auto want = Uploaded<T>(before).host;
        kernels::dropout(CpuDevice{}, write, key, n, p, x.host.data(), want.data());
        const auto got = in_every_order([&]() -> std::vector<Numbers> {
          Uploaded<T> y(before, 1), in_place(x.host);
          kernels::dropout<T>(CudaDevice{}, write, key, n, p, x, y);
          kernels::dropout<T>(CudaDevice{}, Write::overwrite, key, n, p, in_place, in_place);
          return {y.now(), in_place.now()};
        });
        INFO(n << " numbers, p " << p);
        CHECK(error_of(got[0], want) <= device_tolerance<T>);
        const auto zeros = [](const Numbers& y) {
          std::vector<bool> z;
          for (const double v : y) z.push_back(v == 0);
          return z;
        };
        if (write == Write::overwrite) {
          CHECK(zeros(got[0]) == zeros(want));
          CHECK(error_of(got[1], got[0]) == 0);
        }
      }
}
