// Rows by index, copies of rows and the check of indices on the CUDA device.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

struct Size {
  Index rows, n, table;  // rows taken of a table of `table` rows
};
constexpr Size sizes[] = {{0, 5, 3},     {1, 1, 1},    {7, 7, 3},    {17, 33, 5}, {130, 64, 4},
                          {64, 130, 40}, {1000, 8, 7}, {3, 1000, 2}, {300, 1, 1}};

struct Addition {
  Size size;
  Index offset;  // 1: no loads of 16 bytes
  float scale;
};
const auto additions = [] {
  std::vector<Addition> all;
  for (const auto& s : sizes)
    for (const float scale : {1.0f, 0.3f}) all.push_back({s, scale == 1 ? Index{1} : Index{0}, scale});
  for (const auto& s : {Size{130, 64, 4}, Size{1000, 8, 7}}) all.push_back({s, 0, 1});
  all.push_back({{2100, 8, 70000}, 0, 1});  // two tiles of keys of two digits
  return all;
}();

std::string str(const Size& s) {
  return std::to_string(s.rows) + " rows of " + std::to_string(s.n) + " from " + std::to_string(s.table);
}

}  // namespace

TEMPLATE_TEST_CASE("rows taken by index on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& s : sizes)
    for (const Index offset : {Index{0}, Index{1}})
      for (const float scale : {1.0f, 0.3f}) {
        const auto x = Uploaded<T>::normal(s.table * s.n, 1, 1, offset);
        const auto ids = indices(s.rows, s.table, 2);
        const auto index = uploaded(ids);
        Numbers want(static_cast<std::size_t>(s.rows * s.n));
        kernels::take_rows(CpuDevice{}, s.rows, s.n, x.host.data(), ids.data(), static_cast<double>(scale),
                           want.data());
        const auto got = in_every_order([&]() -> std::vector<Numbers> {
          auto y = Uploaded<T>::room(s.rows * s.n, offset);
          kernels::take_rows<T>(CudaDevice{}, s.rows, s.n, x, index, scale, y);
          return {y.now()};
        });
        INFO(str(s) << ", offset " << offset << ", scale " << scale);
        CHECK(error_of(got[0], want) <= (scale == 1 ? 0 : device_tolerance<T>));
      }
}

TEMPLATE_TEST_CASE("rows that share an index are added in their order on the device", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& [s, offset, scale] : additions) {
    const auto x = Uploaded<T>::normal(s.rows * s.n, 1, 1, offset);
    const auto ids = indices(s.rows, s.table, 2);
    const auto index = uploaded(ids);
    const auto before = normals<double>(s.table * s.n, 3);
    auto want = Uploaded<T>(before).host;
    kernels::scatter_add_rows(CpuDevice{}, s.rows, s.n, x.host.data(), ids.data(), static_cast<double>(scale),
                              want.data());
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      Uploaded<T> y(before, offset);
      kernels::scatter_add_rows<T>(CudaDevice{}, s.rows, s.n, x, index, scale, y);
      return {y.now()};
    });
    INFO(str(s) << ", offset " << offset << ", scale " << scale);
    CHECK(error_of(got[0], want) <= device_tolerance<T>);
    if (std::same_as<T, bf16> || scale != 1) continue;
    // In float and without a scale, whose product a GPU may fuse, the very bits of a sum in the order of
    // rows.
    std::vector<float> sum;
    for (const double v : Uploaded<float>(before).host) sum.push_back(static_cast<float>(v));
    for (std::size_t i = 0; i < x.host.size(); ++i) {
      const auto n = static_cast<std::size_t>(s.n);
      sum[static_cast<std::size_t>(ids[i / n]) * n + i % n] += static_cast<float>(x.host[i]);
    }
    CHECK(error_of(got[0], Numbers(sum.begin(), sum.end())) == 0);
  }
}

TEMPLATE_TEST_CASE("rows are copied between strides on the device", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& [rows, n, x_stride, y_stride] : {std::array<Index, 4>{0, 4, 4, 4},
                                                    {5, 0, 3, 3},
                                                    {1, 1, 1, 1},
                                                    {7, 17, 20, 33},
                                                    {33, 64, 64, 130},
                                                    {3, 1000, 1001, 1000},
                                                    {5, 40, 48, 40}}) {
    const Index offset = x_stride % 16 == 0 ? 0 : 1;  // 0: by 16 bytes
    const auto x = Uploaded<T>::normal(rows * x_stride, 1, 1, offset);
    const auto before = normals<double>(rows * y_stride, 2);
    auto want = Uploaded<T>(before).host;
    kernels::copy_rows(CpuDevice{}, rows, n, x.host.data(), x_stride, want.data(), y_stride);
    const auto got = in_every_order(
        [&, rows = rows, n = n, x_stride = x_stride, y_stride = y_stride]() -> std::vector<Numbers> {
          Uploaded<T> y(before, offset);
          kernels::copy_rows<T>(CudaDevice{}, rows, n, x, x_stride, y, y_stride);
          return {y.now()};
        });
    CHECK(error_of(got[0], want) == 0);
  }
}

TEMPLATE_TEST_CASE("rows are appended to caches on the device", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  using kernels::Segments;
  const auto check = [](const Segments& queries, const Segments& keys, Index n, bool by_vectors = false) {
    const Index x_stride = n + (by_vectors ? 16 : 3), y_stride = n + (by_vectors ? 8 : 1);
    const Index offset = by_vectors ? 0 : 1;
    const auto x = Uploaded<T>::normal(queries.end() * x_stride, 1, 1, offset);
    const auto before = normals<double>(keys.end() * y_stride, 2);
    auto want = Uploaded<T>(before).host;
    kernels::append_rows(CpuDevice{}, queries, keys, n, x.host.data(), x_stride, want.data(), y_stride);
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      Uploaded<T> y(before, offset);
      kernels::append_rows<T>(CudaDevice{}, queries, keys, n, x, x_stride, y, y_stride);
      return {y.now()};
    });
    CHECK(error_of(got[0], want) == 0);
  };
  check(Segments::packed({1, 1, 1}), {{0, 10, 20}, {4, 1, 9}}, 33);
  check(Segments::packed({3, 0, 5}), {{0, 10, 20}, {3, 2, 9}}, 130);
  check(Segments::packed({3, 0, 5}), {{0, 10, 20}, {3, 2, 9}}, 1032, true);
  check(Segments::packed({17}), Segments::packed({64}), 7);
  check(Segments::packed({0, 0}), Segments::packed({2, 3}), 7);
  check({}, {}, 7);
  Segments keys = Segments::packed({4, 5});  // a cache grows: the device's copy of its segments must follow
  for (int step = 0; step < 3; ++step) {
    check(Segments::packed({1, 1}), keys, 5);
    for (auto& length : keys.length) ++length;
    keys.begin[1] += 1;
  }
}

TEMPLATE_TEST_CASE("rows of a table as columns, and their gradient, on the device are the CPU's", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& [columns, heads, table_rows] : {std::array<Index, 3>{0, 3, 4},
                                                   {1, 1, 1},
                                                   {7, 2, 3},
                                                   {33, 4, 32},
                                                   {130, 7, 5},
                                                   {257, 1, 40},
                                                   {5, 0, 3}}) {
    const auto table = Uploaded<T>::normal(table_rows * heads, 1),
               dy = Uploaded<T>::normal(columns * heads, 2);
    const auto ids = indices(columns, table_rows, 3);
    const auto row = uploaded(ids);
    const auto before = normals<double>(table_rows * heads, 4);
    Numbers y(dy.host.size()), d_table = Uploaded<T>(before).host;
    kernels::take_transposed(CpuDevice{}, columns, heads, table.host.data(), ids.data(), y.data());
    kernels::scatter_add_transposed(CpuDevice{}, columns, heads, table_rows, dy.host.data(), ids.data(),
                                    d_table.data());
    const auto got = in_every_order(
        [&, columns = columns, heads = heads, table_rows = table_rows]() -> std::vector<Numbers> {
          auto out = Uploaded<T>::room(columns * heads);
          Uploaded<T> d(before);
          kernels::take_transposed<T>(CudaDevice{}, columns, heads, table, row, out);
          kernels::scatter_add_transposed<T>(CudaDevice{}, columns, heads, table_rows, dy, row, d);
          return {out.now(), d.now()};
        });
    INFO(columns << " columns, " << heads << " heads, " << table_rows << " rows");
    CHECK(error_of(got[0], y) == 0);
    CHECK(error_of(got[1], d_table) <= device_tolerance<T>);
  }
}

TEST_CASE("an index outside its limit is reported by name once, and the device goes on") {
  RETORT_NEED_DEVICE();
  const auto require = [](std::vector<std::int32_t> ids, Index limit, const char* op, const char* what) {
    auto index = uploaded(ids);
    kernels::require_indices(CudaDevice{}, op, what, static_cast<Index>(ids.size()), index, limit);
    return message_of<ShapeError>([&] { (void)index.now(); });
  };
  const auto in_orders = [&](auto f) {
    for (int order = 0; order < thread_orders(); ++order) {
      set_thread_order(static_cast<std::uint64_t>(order));
      f();
    }
  };
  in_orders([&] {
    CHECK(require({0, 4, 2}, 5, "take", "row") == "no error");
    CHECK(require({0, 5, 2}, 5, "take", "row") == "[take] row 5 is outside [0, 5)");
    CHECK(require({0, 4, 2}, 5, "take", "row") == "no error");
    CHECK(require({-1}, 1, "loss", "target") == "[loss] target -1 is outside [0, 1)");
    CHECK(require({}, 5, "take", "row") == "no error");
    CHECK(require({2147483647}, 2147483647, "take", "row") ==
          "[take] row 2147483647 is outside [0, 2147483647)");
    const std::vector<std::int32_t> wrong(3000, 9);  // many at once: one message, whole
    CHECK(require(wrong, 9, "many", "index") == "[many] index 9 is outside [0, 9)");
    // Two kernels before the next result: the first is named.
    auto first = uploaded({1, 8}), second = uploaded({-3});
    kernels::require_indices(CudaDevice{}, "first", "row", 2, first, 8);
    kernels::require_indices(CudaDevice{}, "second", "row", 1, second, 8);
    CHECK(message_of<ShapeError>([&] { (void)first.now(); }) == "[first] row 8 is outside [0, 8)");
    CHECK(first.now() == Numbers{1, 0});  // 0 stands for it: nothing outside was read
    CHECK(second.now() == Numbers{0});
  });
}
