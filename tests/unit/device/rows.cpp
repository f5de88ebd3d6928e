// Softmax, norms, sums over rows, biases and rotary positions of the CUDA device.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

struct Size {
  Index rows, n;
};
constexpr Size sizes[] = {{0, 5}, {1, 1}, {3, 7}, {2, 17}, {5, 33}, {4, 64}, {9, 130}, {2, 1000}, {3, 1030}};

/// Rows at either side of the lengths that a warp holds in registers: up to 4 or 8 vectors a lane.
constexpr Size held_sizes[] = {{5, 8},    {2, 512},  {1, 520},  {3, 768},
                               {1, 1024}, {2, 1032}, {1, 2048}, {1, 2056}};

/// f(rows, n, offset, write) for every size, alignment and way of writing.
template <class F>
void for_all(F f) {
  for (const auto& [rows, n] : sizes)
    for (const Index offset : {Index{0}, Index{1}})
      for (const auto write : {Write::overwrite, Write::accumulate}) {
        INFO(rows << " x " << n << ", offset " << offset
                  << (write == Write::accumulate ? ", accumulated" : ""));
        f(rows, n, offset, write);
      }
}

}  // namespace

TEMPLATE_TEST_CASE("softmax and log-softmax of the device and their gradients are the CPU's", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for_all([](Index rows, Index n, Index offset, Write write) {
    const Index count = rows * n;
    const auto x = Uploaded<T>::normal(count, 1, 4, offset), dy = Uploaded<T>::normal(count, 2, 1, offset);
    const auto before = normals<double>(count, 3, 0.1);
    const Uploaded<T> start(before);
    auto p = x.host, log_p = x.host, dx = start.host, log_dx = start.host;
    kernels::softmax(CpuDevice{}, rows, n, x.host.data(), p.data());
    kernels::log_softmax(CpuDevice{}, rows, n, x.host.data(), log_p.data());
    const Uploaded<T> y(p, offset), log_y(log_p, offset);  // what the gradients are given, rounded to T
    kernels::softmax_backward(CpuDevice{}, write, rows, n, y.host.data(), dy.host.data(), dx.data());
    kernels::log_softmax_backward(CpuDevice{}, write, rows, n, log_y.host.data(), dy.host.data(),
                                  log_dx.data());
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      auto out = Uploaded<T>::room(count, offset), log_out = Uploaded<T>::room(count, offset);
      Uploaded<T> d(before, offset), log_d(before, offset);
      kernels::softmax<T>(CudaDevice{}, rows, n, x, out);
      kernels::log_softmax<T>(CudaDevice{}, rows, n, x, log_out);
      kernels::softmax_backward<T>(CudaDevice{}, write, rows, n, y, dy, d);
      kernels::log_softmax_backward<T>(CudaDevice{}, write, rows, n, log_y, dy, log_d);
      return {out.now(), log_out.now(), d.now(), log_d.now()};
    });
    CHECK(error_of(got[0], p) <= device_tolerance<T>);
    CHECK(error_of(got[1], log_p) <= device_tolerance<T>);
    CHECK(error_of(got[2], dx) <= device_tolerance<T>);
    CHECK(error_of(got[3], log_dx) <= device_tolerance<T>);
  });
}

TEMPLATE_TEST_CASE("softmax of the device where logits are infinite is the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const double none = -HUGE_VAL;
  const Uploaded<T> x({none, none, none, none, none, 1, none, 2, 1e4, 1e4, -1e4, 0});
  auto want = x.host, log_want = x.host;
  kernels::softmax(CpuDevice{}, 3, 4, x.host.data(), want.data());
  auto y = Uploaded<T>::room(12), log_y = Uploaded<T>::room(12);
  kernels::softmax<T>(CudaDevice{}, 3, 4, x, y);
  CHECK(error_of(y.now(), want) <= device_tolerance<T>);
  kernels::log_softmax(CpuDevice{}, 2, 4, x.host.data() + 4, log_want.data());
  kernels::log_softmax<T>(CudaDevice{}, 2, 4, static_cast<const T*>(x) + 4, log_y);
  auto got = log_y.now();
  got.resize(8), log_want.resize(8);
  CHECK(error_of(got, log_want) <= device_tolerance<T>);
}

TEMPLATE_TEST_CASE("layer norm and RMS norm of the device and their gradients are the CPU's", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const bool centred : {true, false}) {
    const auto check = [centred](Index rows, Index n, Index offset, Write write) {
      const Index count = rows * n;
      const auto x = Uploaded<T>::normal(count, 1, 2, offset), gain = Uploaded<T>::normal(n, 2, 1),
                 bias = Uploaded<T>::normal(n, 3, 1, write == Write::overwrite ? offset : 1),
                 dy = Uploaded<T>::normal(count, 4, 1, offset);
      const auto before = normals<double>(count, 5), gain_before = normals<double>(n, 6);
      Numbers y(x.host), mean(static_cast<std::size_t>(rows)), rstd(mean);
      // One number alone is a constant after RMS norm, but for epsilon: its gradient would be all
      // cancellation.
      const float eps = n == 1 ? 1.0f : 1e-3f;
      const auto wide = static_cast<double>(eps);
      if (centred)
        kernels::layer_norm(CpuDevice{}, rows, n, x.host.data(), gain.host.data(), bias.host.data(), wide,
                            y.data(), mean.data(), rstd.data());
      else
        kernels::rms_norm(CpuDevice{}, rows, n, x.host.data(), gain.host.data(), wide, y.data(), rstd.data());
      const Uploaded<float> mean_given(mean), rstd_given(rstd);
      const double* means = centred ? mean_given.host.data() : nullptr;
      const float* means_on_device = centred ? static_cast<const float*>(mean_given) : nullptr;
      auto dx = Uploaded<T>(before).host, dgain = Uploaded<T>(gain_before).host;
      kernels::norm_backward_input(CpuDevice{}, write, rows, n, x.host.data(), gain.host.data(), means,
                                   rstd_given.host.data(), dy.host.data(), dx.data());
      kernels::norm_backward_gain(CpuDevice{}, write, rows, n, x.host.data(), means, rstd_given.host.data(),
                                  dy.host.data(), dgain.data());
      const auto got = in_every_order([&]() -> std::vector<Numbers> {
        auto out = Uploaded<T>::room(count, offset);
        auto m = Uploaded<float>::room(rows), s = Uploaded<float>::room(rows);
        Uploaded<T> d(before, offset), g(gain_before);
        if (centred)
          kernels::layer_norm<T>(CudaDevice{}, rows, n, x, gain, bias, eps, out, m, s);
        else
          kernels::rms_norm<T>(CudaDevice{}, rows, n, x, gain, eps, out, s);
        kernels::norm_backward_input<T>(CudaDevice{}, write, rows, n, x, gain, means_on_device, rstd_given,
                                        dy, d);
        kernels::norm_backward_gain<T>(CudaDevice{}, write, rows, n, x, means_on_device, rstd_given, dy, g);
        return {out.now(), m.now(), s.now(), d.now(), g.now()};
      });
      CHECK(error_of(got[0], y) <= device_tolerance<T>);
      if (centred) CHECK(difference(got[1], mean) <= 1e-6);  // near 0 where the row is long
      CHECK(error_of(got[2], rstd) <= 1e-5);                 // statistics are float in bf16 too
      // The gradient of one number alone through layer norm is 0: equal terms that are subtracted.
      const double terms = n == 1 && count > 0 ? rstd[0] * std::abs(dy.host[0] * gain.host[0]) : 0;
      CHECK(error_of(got[3], dx, terms) <= device_tolerance<T>);
      CHECK(error_of(got[4], dgain) <= device_tolerance<T>);
    };
    for_all(check);
    for (const auto& [rows, n] : held_sizes)
      for (const auto write : {Write::overwrite, Write::accumulate}) {
        INFO(rows << " x " << n);
        check(rows, n, 0, write);
      }
  }
}

TEMPLATE_TEST_CASE("sums over rows and biases of the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  const auto check_strided = [](Index rows, Index n, Index stride, Index offset, Write write) {
    const auto x = Uploaded<T>::normal(rows * stride, 1, 1, offset),
               bias = Uploaded<T>::normal(n, 2, 1, offset);
    const auto before = normals<double>(n, 3), y_before = normals<double>(rows * n, 4);
    auto sums = Uploaded<T>(before).host, y = Uploaded<T>(y_before).host;
    kernels::sum_rows(CpuDevice{}, write, rows, n, x.host.data(), sums.data(), stride);
    kernels::add_bias(CpuDevice{}, rows, n, bias.host.data(), y.data());
    const auto got = in_every_order([&]() -> std::vector<Numbers> {
      Uploaded<T> out(before, offset), with_bias(y_before, offset);
      kernels::sum_rows<T>(CudaDevice{}, write, rows, n, x, out, stride);
      kernels::add_bias<T>(CudaDevice{}, rows, n, bias, with_bias);
      return {out.now(), with_bias.now()};
    });
    CHECK(error_of(got[0], sums) <= device_tolerance<T>);
    CHECK(error_of(got[1], y) <= device_tolerance<T>);
  };
  const auto check = [&](Index rows, Index n, Index offset, Write write) {
    check_strided(rows, n, n, offset, write);
  };
  for_all(check);
  for (const Index rows : {255, 256, 257, 600}) check(rows, 33, 0, Write::overwrite);    // blocks of rows
  for (const Index rows : {1, 31, 33, 64, 1000}) check(rows, 16, 0, Write::accumulate);  // by vectors
  check(4200, 8, 0, Write::overwrite);  // more parts than are added at once
  for (const Index n : {264, 768}) check(33, n, 0, Write::overwrite);
  check_strided(35, 261, 272, 0, Write::overwrite);  // vectors and the columns behind them
  check_strided(35, 20, 27, 0, Write::accumulate);
  check(4, 0, 0, Write::overwrite);
}

TEMPLATE_TEST_CASE("rotary positions of the device are the CPU's, forth and back", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  struct Case {
    Index rows, heads, head_width, width, rest;  // rest: columns behind the heads
  };
  for (const auto& c : {Case{0, 2, 8, 8, 0}, Case{1, 1, 2, 2, 0}, Case{7, 3, 10, 4, 5},
                        Case{5, 2, 64, 64, 128}, Case{17, 1, 130, 66, 1}, Case{3, 4, 16, 0, 0}})
    for (const auto layout : {kernels::RotaryLayout::interleaved, kernels::RotaryLayout::halves})
      for (const bool inverse : {false, true})
        for (const auto write : {Write::overwrite, Write::accumulate}) {
          const Index columns = c.heads * c.head_width + c.rest, count = c.rows * columns, half = c.width / 2;
          const kernels::RotaryShape shape{c.rows, columns, c.heads, c.head_width, c.width, layout};
          const auto x = Uploaded<T>::normal(count, 1, 1, 1);
          const auto angle = normals<double>(c.rows * half, 2, 3);
          Numbers cosines, sines;
          for (const double a : angle) cosines.push_back(std::cos(a)), sines.push_back(std::sin(a));
          const Uploaded<float> cos(cosines), sin(sines);
          const auto before = normals<double>(count, 3);
          auto want = Uploaded<T>(before).host;
          kernels::rotary(CpuDevice{}, write, shape, inverse, cos.host.data(), sin.host.data(), x.host.data(),
                          want.data());
          const auto got = in_every_order([&]() -> std::vector<Numbers> {
            Uploaded<T> y(before, 1);
            kernels::rotary<T>(CudaDevice{}, write, shape, inverse, cos, sin, x, y);
            return {y.now()};
          });
          INFO(c.rows << " rows, " << c.heads << " heads of " << c.head_width << ", " << c.width
                      << " turned");
          CHECK(error_of(got[0], want) <= device_tolerance<T>);
        }
}
