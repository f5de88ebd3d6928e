#include <limits>

#include "catch.hpp"
#include "numbers.hpp"
#include "retort/core/activations.hpp"
#include "retort/kernels/cpu/gather.hpp"
#include "retort/kernels/cpu/map.hpp"

using namespace retort;

namespace {

constexpr Index sizes[] = {0, 1, 7, 17, 31, 64, 100};

double at(const auto& x, Index i) {
  return static_cast<double>(x[static_cast<std::size_t>(i)]);
}

}  // namespace

TEMPLATE_TEST_CASE("map applies a function to every element, overwriting and adding, and writes no further",
                   "", float, double) {
  using T = TestType;
  const auto f = [](auto u, auto v) { return u * v + decltype(u)(T(2)); };
  for (const Index n : sizes) {
    const auto a = test::normals<T>(n, 1), b = test::normals<T>(n, 2);
    auto y = test::normals<T>(n + 1, 3);
    const auto before = y;
    std::vector<double> added, written;
    for (Index i = 0; i < n; ++i)
      written.push_back(at(a, i) * at(b, i) + 2), added.push_back(written.back() + at(y, i));
    written.push_back(at(y, n));
    added.push_back(at(y, n));
    kernels::map(CpuDevice{}, Write::accumulate, n, f, y.data(), a.data(), b.data());
    CHECK(test::difference(y, added) <= test::rounding<T>());
    y = before;
    kernels::map(CpuDevice{}, Write::overwrite, n, f, y.data(), a.data(), b.data());
    CHECK(test::difference(y, written) <= test::rounding<T>());
  }
}

TEMPLATE_TEST_CASE("map may write over one of its inputs", "", float, double) {
  using T = TestType;
  auto x = test::normals<T>(37, 1);
  std::vector<double> expected;
  for (const T v : x) expected.push_back(static_cast<double>(v) * 3);
  kernels::map(
      CpuDevice{}, Write::overwrite, 37, [](auto v) { return v * decltype(v)(T(3)); }, x.data(), x.data());
  CHECK(test::difference(x, expected) <= test::rounding<T>());
}

TEMPLATE_TEST_CASE("map of an activation equals the scalar activation, and its slope", "", float, double) {
  using T = TestType;
  const auto check = [](auto act) {
    const auto x = test::normals<T>(333, 4, 3);
    std::vector<T> y(x.size()), slope(x.size());
    kernels::map(
        CpuDevice{}, Write::overwrite, 333, [=](auto v) { return act.value(v); }, y.data(), x.data());
    kernels::map(
        CpuDevice{}, Write::overwrite, 333, [=](auto v) { return act.slope(v); }, slope.data(), x.data());
    std::vector<double> want_y, want_slope;
    for (const T v : x) {
      want_y.push_back(act.value(static_cast<double>(v)));
      want_slope.push_back(act.slope(static_cast<double>(v)));
    }
    CHECK(test::difference(y, want_y) <= test::rounding<T>(2));
    CHECK(test::difference(slope, want_slope) <= test::rounding<T>(64));
  };
  check(Relu{});
  check(GeluTanh{});
  check(GeluErf{});
  check(Silu{});
}

TEMPLATE_TEST_CASE("map gives the same bits on any number of threads and wherever an element stands", "",
                   float, double) {
  using T = TestType;
  const Index n = 200'003;
  const auto a = test::normals<T>(n, 1), b = test::normals<T>(n, 2), start = test::normals<T>(n, 3);
  for (const Write write : {Write::overwrite, Write::accumulate}) {
    const auto run = [&](Index from, Index count) {
      std::vector<T> y(start.begin() + from, start.begin() + from + count);
      kernels::map(
          CpuDevice{}, write, count, [](auto u, auto v) { return u * exp(v) + u; }, y.data(), a.data() + from,
          b.data() + from);
      return y;
    };
    CHECK(test::same_on_any_thread_count([&] { return run(0, n); }));
    const auto all = run(0, n);
    for (const Index from : {1, 2, 5, 11, 100'003}) {
      const auto part = run(from, 77);
      CHECK(std::equal(part.begin(), part.end(), all.begin() + from));
    }
  }
}

TEMPLATE_TEST_CASE("sum_of adds in double: sums of many numbers keep their digits", "", float, double) {
  using T = TestType;
  for (const Index n :
       {Index{0}, Index{1}, Index{7}, Index{17}, Index{64}, Index{100}, Index{65'536 + 3}, Index{400'001}}) {
    const auto x = test::normals<T>(n, 5);
    double sum = 0, squares = 0;
    for (const T v : x)
      sum += static_cast<double>(v), squares += static_cast<double>(v) * static_cast<double>(v);
    const double rounded = std::sqrt(static_cast<double>(n) + 1) * (sizeof(T) == 4 ? 1e-6 : 1e-13);
    CHECK(kernels::sum_of(CpuDevice{}, x.data(), n, [](auto v) { return v; }) == Approx(sum).margin(rounded));
    CHECK(kernels::sum_of(CpuDevice{}, x.data(), n, [](auto v) { return v * v; }) ==
          Approx(squares).epsilon(sizeof(T) == 4 ? 1e-6 : 1e-13));
  }
  // 2^24 + 1 is where a float accumulator stands still
  const std::vector<T> ones((1 << 24) + 5, T(1));
  CHECK(kernels::sum_of(CpuDevice{}, ones.data(), static_cast<Index>(ones.size()),
                        [](auto v) { return v; }) == (1 << 24) + 5);
}

TEMPLATE_TEST_CASE("sum_of gives the same bits on any number of threads", "", float, double) {
  const auto x = test::normals<TestType>(1'000'003, 6);
  CHECK(test::same_on_any_thread_count(
      [&] { return kernels::sum_of(CpuDevice{}, x.data(), 1'000'003, [](auto v) { return v * v; }); }));
}

TEMPLATE_TEST_CASE("all_finite sees one NaN or infinity anywhere", "", float, double) {
  using T = TestType;
  for (const Index n : sizes) {
    auto x = test::normals<T>(n, 1);
    CHECK(kernels::all_finite(CpuDevice{}, x.data(), n));
    for (Index i = 0; i < n; ++i)
      for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity(),
                          -std::numeric_limits<T>::infinity()}) {
        auto y = x;
        y[static_cast<std::size_t>(i)] = bad;
        CHECK_FALSE(kernels::all_finite(CpuDevice{}, y.data(), n));
      }
  }
  const T largest = std::numeric_limits<T>::max();
  CHECK(kernels::all_finite(CpuDevice{}, &largest, 1));
}

TEMPLATE_TEST_CASE("take_rows copies and scales rows by index, repeated ones too", "", float, double) {
  using T = TestType;
  for (const Index n : {1, 7, 17, 64, 100})
    for (const T factor : {T(1), T(-2.5)}) {
      const auto x = test::normals<T>(9 * n, 1);
      const auto index = test::indices(40, 9, 2);
      std::vector<T> y(static_cast<std::size_t>(40 * n));
      kernels::take_rows(CpuDevice{}, 40, n, x.data(), index.data(), factor, y.data());
      std::vector<double> expected;
      for (const auto row : index)
        for (Index i = 0; i < n; ++i) expected.push_back(static_cast<double>(factor) * at(x, row * n + i));
      CHECK(test::difference(y, expected) <= test::rounding<T>());
    }
}

TEMPLATE_TEST_CASE("scatter_add_rows adds every row to the one its index names", "", float, double) {
  using T = TestType;
  for (const Index n : {1, 7, 17, 64, 100})
    for (const Index rows : {0, 1, 5, 200}) {
      const auto x = test::normals<T>(rows * n, 1);
      const auto index = test::indices(rows, 9, 2);
      auto y = test::normals<T>(9 * n, 3);
      std::vector<double> expected(y.begin(), y.end());
      for (Index r = 0; r < rows; ++r)
        for (Index i = 0; i < n; ++i)
          expected[static_cast<std::size_t>(index[static_cast<std::size_t>(r)] * n + i)] +=
              0.75 * at(x, r * n + i);
      kernels::scatter_add_rows(CpuDevice{}, rows, n, x.data(), index.data(), T(0.75), y.data());
      CHECK(test::difference(y, expected) <= test::rounding<T>(50));
    }
}

TEMPLATE_TEST_CASE("scatter_add_rows adds rows of one index in their order, on any number of threads", "",
                   float, double) {
  using T = TestType;
  const Index rows = 3000, n = 33;
  const auto x = test::normals<T>(rows * n, 1);
  const auto index = test::indices(rows, 50, 2);
  CHECK(test::same_on_any_thread_count([&] {
    std::vector<T> y(static_cast<std::size_t>(50 * n));
    kernels::scatter_add_rows(CpuDevice{}, rows, n, x.data(), index.data(), T(0.3), y.data());
    return y;
  }));
  // small + big - big is 0 in this order, small in the reverse one
  const T big = T(1) / std::numeric_limits<T>::epsilon() * T(4);
  const std::vector<T> column{T(1), big, -big};
  const std::vector<std::int32_t> same{0, 0, 0};
  T sum = 0;
  kernels::scatter_add_rows(CpuDevice{}, 3, 1, column.data(), same.data(), T(1), &sum);
  CHECK(sum == T(0));
}

TEST_CASE("copy_rows copies between arrays of different row strides") {
  const auto x = test::normals<float>(4 * 9, 1);
  std::vector<float> y(4 * 7, -1.f);
  kernels::copy_rows(CpuDevice{}, 4, 5, x.data() + 2, 9, y.data() + 1, 7);
  for (Index r = 0; r < 4; ++r)
    for (Index i = 0; i < 7; ++i)
      CHECK(y[static_cast<std::size_t>(r * 7 + i)] ==
            (i >= 1 && i < 6 ? x[static_cast<std::size_t>(r * 9 + 2 + i - 1)] : -1.f));
}
