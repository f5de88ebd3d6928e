// Pointwise kernels, fills, conversions and sums of the CUDA device.
#include "retort/core/activations.hpp"
#include "retort/core/functors.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

constexpr Index sizes[] = {0, 1, 7, 17, 33, 64, 130, 1000};

/// map with `f` on rounded inputs, overwriting and accumulating, aligned and not, is the CPU's.
template <class T, class F, class... In>
void check_map(F f, const In&... stream) {
  for (const Index n : sizes)
    for (const Index offset : {Index{0}, Index{1}})
      for (const auto write : {Write::overwrite, Write::accumulate}) {
        const auto before = normals<double>(n, 9);
        const std::tuple in{Uploaded<T>::normal(n, stream, 1.5, offset)...};
        std::apply(
            [&](const auto&... x) {
              Uploaded<T> start(before, offset);
              auto want = start.host;
              kernels::map(CpuDevice{}, write, n, f, want.data(), x.host.data()...);
              const auto got = in_every_order([&]() -> std::vector<Numbers> {
                Uploaded<T> out(before, offset);
                kernels::map(CudaDevice{}, write, n, f, static_cast<T*>(out), static_cast<const T*>(x)...);
                return {out.now()};
              });
              INFO(n << " elements, offset " << offset);
              CHECK(error_of(got[0], want) <= device_tolerance<T>);
            },
            in);
      }
}

template <class T, class A>
void check_activation() {
  INFO(A::name);
  check_map<T>(functors::Activate<A>{}, 1);
  check_map<T>(functors::ActivateGradient<A>{}, 1, 2);
  check_map<T>(functors::Gated<A>{}, 1, 2);
  check_map<T>(functors::GatedGradient<A>{}, 1, 2, 3);
  check_map<T>(functors::GatedValueGradient<A>{}, 1, 2);
}

}  // namespace

TEMPLATE_TEST_CASE("maps of the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  check_map<T>(functors::Identity{}, 1);
  check_map<T>(functors::Negate{}, 1);
  check_map<T>(functors::Constant{0.25}, 1);
  check_map<T>(functors::Times{-1.5}, 1);
  check_map<T>(functors::Add{}, 1, 2);
  check_map<T>(functors::Subtract{}, 1, 2);
  check_map<T>(functors::Multiply{}, 1, 2);
  check_map<T>(functors::Descend{0.1, 0.5, 0.01}, 1, 2);
}

TEMPLATE_TEST_CASE("activations and their gated gradients on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  check_activation<T, Relu>();
  check_activation<T, GeluTanh>();
  check_activation<T, GeluErf>();
  check_activation<T, Silu>();
}

TEMPLATE_TEST_CASE("activations on the device keep their limits far from 0", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const Uploaded<T> x({-1e4, -100, -20, 0, 20, 100, 1e4, std::nan("")});
  const Uploaded<T> ones(Numbers(8, 1.0));
  const auto check = [&](auto a) {
    auto value = x.host, slope = x.host;
    kernels::map(CpuDevice{}, Write::overwrite, 8, functors::Activate{a}, value.data(), x.host.data());
    kernels::map(CpuDevice{}, Write::overwrite, 8, functors::ActivateGradient{a}, slope.data(),
                 ones.host.data(), x.host.data());
    auto y = Uploaded<T>::room(8), d = Uploaded<T>::room(8);
    kernels::map(CudaDevice{}, Write::overwrite, 8, functors::Activate{a}, static_cast<T*>(y),
                 static_cast<const T*>(x));
    kernels::map(CudaDevice{}, Write::overwrite, 8, functors::ActivateGradient{a}, static_cast<T*>(d),
                 static_cast<const T*>(ones), static_cast<const T*>(x));
    INFO(a.name);
    if constexpr (std::same_as<decltype(a), Relu>) {  // of NaN it may be either
      value.pop_back(), slope.pop_back();
      auto y_now = y.now(), d_now = d.now();
      y_now.pop_back(), d_now.pop_back();
      CHECK(error_of(y_now, value) <= device_tolerance<T>);
      CHECK(error_of(d_now, slope) <= device_tolerance<T>);
    } else {
      CHECK(error_of(y.now(), value) <= device_tolerance<T>);
      CHECK(error_of(d.now(), slope) <= device_tolerance<T>);
    }
  };
  check(Relu{}), check(GeluTanh{}), check(GeluErf{}), check(Silu{});
}

TEST_CASE("fills of the device write every element, of two, four and eight bytes") {
  RETORT_NEED_DEVICE();
  const auto check = [](auto value) {
    using T = decltype(value);
    for (const Index n : sizes) {
      const auto got = in_every_order([&]() -> std::vector<Numbers> {
        auto x = Uploaded<T>::room(n, 1);
        memory::fill(CudaDevice{}, static_cast<T*>(x), n, value);
        return {x.now()};
      });
      CHECK(got[0] == Numbers(static_cast<std::size_t>(n), 2.5 - (std::is_integral_v<T> ? 0.5 : 0)));
    }
  };
  check(2.5f), check(bf16(2.5f)), check(2.5), check(std::int32_t{2});
}

TEST_CASE("conversions of the device round to the nearest, and back exactly") {
  RETORT_NEED_DEVICE();
  for (const Index n : sizes) {
    auto values = normals<double>(n, 4, 100);
    if (n > 5)
      values[1] = HUGE_VAL, values[2] = std::nan(""), values[3] = 1 + 1.0 / 256, values[4] = 1 + 3.0 / 256;
    const Uploaded<float> x(values, 1);
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      auto narrow = Uploaded<bf16>::room(n, 3);
      auto wide = Uploaded<float>::room(n), copy = Uploaded<float>::room(n);
      kernels::convert<float, bf16>(CudaDevice{}, n, x, narrow);
      kernels::convert<bf16, float>(CudaDevice{}, n, narrow, wide);
      kernels::convert<float, float>(CudaDevice{}, n, x, copy);
      return {narrow.now(), wide.now(), copy.now()};
    });
    CHECK(error_of(got[0], Uploaded<bf16>(x.host).host) == 0);
    CHECK(error_of(got[1], got[0]) == 0);
    CHECK(error_of(got[2], x.host) == 0);
    if (n > 5) CHECK((got[0][3] == 1 && got[0][4] == 1 + 4.0 / 256));  // ties go to even
  }
}

TEMPLATE_TEST_CASE("sums and squared norms on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  std::vector<Uploaded<T>> arrays;
  std::vector<std::pair<const T*, Index>> on_device;
  std::vector<std::pair<const double*, Index>> on_cpu;
  for (const Index n : {0, 1, 7, 33, 1000, 32768, 32769, 70000, 0})
    arrays.push_back(Uploaded<T>::normal(n, static_cast<std::uint64_t>(n), 3, n % 2));
  for (const auto& a : arrays) {
    on_device.emplace_back(a, static_cast<Index>(a.host.size()));
    on_cpu.emplace_back(a.host.data(), static_cast<Index>(a.host.size()));
  }
  const auto got = in_every_order([&]() -> std::vector<Numbers> {
    Numbers sums;
    for (const auto& [x, n] : on_device)
      sums.push_back(kernels::sum_of(CudaDevice{}, x, n, functors::Identity{}));
    return {kernels::squared_norms(CudaDevice{}, on_device), sums};
  });
  const auto want = kernels::squared_norms(CpuDevice{}, on_cpu);
  CHECK(kernels::squared_norms(CudaDevice{}, std::vector<std::pair<const T*, Index>>{}).empty());
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    INFO(on_cpu[i].second << " elements");
    CHECK(got[0][i] == Approx(want[i]).epsilon(1e-6));
    double size = 0, sum = 0;
    for (const double x : arrays[i].host) size += std::abs(x), sum += x;
    CHECK(std::abs(got[1][i] - sum) <= 1e-6 * size);
  }
}

TEMPLATE_TEST_CASE("a number that is not finite is found anywhere on the device", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const Index n : sizes) {
    const auto values = normals<double>(n, 2, 1e30);
    CHECK(kernels::all_finite<T>(CudaDevice{}, Uploaded<T>(values, 1), n));
    for (const Index at : {Index{0}, n / 2, n - 1})
      for (const double bad : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
        if (n == 0) continue;
        auto wrong = values;
        wrong[static_cast<std::size_t>(at)] = bad;
        const Uploaded<T> x(wrong, 1);
        CHECK(in_every_order([&]() -> std::vector<Numbers> {
                return {{kernels::all_finite<T>(CudaDevice{}, x, n) ? 1.0 : 0.0}};
              })[0][0] == 0);
      }
  }
}
