// Losses of rows of logits on the CUDA device.
#include "retort/distill/divergences.hpp"
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cpu/row_loss.hpp"
#include "retort/kernels/cpu/row_sums.hpp"
#include "retort/kernels/cpu/sparse_row_loss.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

constexpr Index rows = 5;
const Numbers row_weights{1, 0, -0.5, 3, 0.01};  // floats all but the last, which Uploaded<float> rounds

Tensor<double, CudaDevice> room_for_losses(Index count = rows) {
  return Tensor<double, CudaDevice>::full({count}, std::nan(""));
}

/// Calls f with every divergence that the library ships.
template <class F>
void each_divergence(F f) {
  f(ForwardKl{}), f(ReverseKl{}), f(Jsd{0.5}), f(Jsd{0.1}), f(NormalisedJsd{0.3}), f(TotalVariation{});
  f(SkewForwardKl{0.1}), f(SkewReverseKl{0.2}), f(SymmetricKl{}), f(detail::SoftCrossEntropy{});
}

/// row_loss on the device is the CPU's: losses, and what becomes of the student's logits.
template <class T, class Divergence>
void check_row_loss(const Divergence& d, Index vs, Index vt, double temperature, bool gradient, bool slopes,
                    Index offset = 0) {
  const auto zs = normals<double>(rows * vs, 1, 2), zt = normals<double>(rows * vt, 2, 2);
  const Uploaded<float> weight(row_weights);
  const auto ids = indices(rows, vs, 3);
  const auto token = uploaded(ids);
  const Uploaded<float> slope({0.5, -1, 0, 0.25, 2});  // one for the row of weight 0, and one 0
  auto student = Uploaded<T>(zs).host, teacher = Uploaded<T>(zt).host;
  const auto unchanged = student;
  Numbers want(rows);
  const kernels::RowLossShape shape{rows, vs, vt, temperature, gradient};
  kernels::row_loss(
      CpuDevice{}, d, shape, student.data(), teacher.data(), weight.host.data(), want.data(),
      kernels::TokenSlopes<double>{slopes ? ids.data() : nullptr, slopes ? slope.host.data() : nullptr});
  const auto got = in_every_order([&]() -> std::vector<Numbers> {
    Uploaded<T> s(zs, offset), t(zt, offset);
    auto loss = room_for_losses();
    kernels::row_loss<T>(CudaDevice{}, d, shape, s, t, weight, loss.data(),
                         kernels::TokenSlopes<T>{slopes ? static_cast<const std::int32_t*>(token) : nullptr,
                                                 slopes ? static_cast<const float*>(slope) : nullptr});
    (void)t.now();
    return {loss.to_host(), s.now()};
  });
  INFO(d.name << ", " << vs << " and " << vt << " tokens, temperature " << temperature << ", gradient "
              << gradient << ", slopes " << slopes << ", offset " << offset);
  CHECK(error_of(got[0], want) <= 1e-5);  // arithmetic is float in bf16 too
  if (gradient)
    CHECK(error_of(got[1], student) <= device_tolerance<T>);
  else
    CHECK(error_of(got[1], unchanged) == 0);
}

}  // namespace

TEMPLATE_TEST_CASE("losses and gradients of every divergence on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  each_divergence([](const auto& d) {
    for (const auto& [vs, vt] : {std::array<Index, 2>{7, 7}, {33, 17}, {64, 130}})
      check_row_loss<T>(d, vs, vt, vs == 64 ? 2.0 : 1.0, true, vs == 33);
  });
}

TEMPLATE_TEST_CASE("row losses on the device for all vocabularies, temperatures, slopes and alignments", "",
                   float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& [vs, vt] :
       {std::array<Index, 2>{1, 1}, {1, 9}, {9, 1}, {17, 17}, {33, 64}, {130, 128}, {1000, 1008}})
    for (const double temperature : {1.0, 0.5})
      for (const bool slopes : {false, true})
        for (const bool gradient : {true, false})
          if (vs < 1000 || (gradient && slopes))
            check_row_loss<T>(Jsd{0.3}, vs, vt, temperature, gradient, slopes, temperature == 1 ? 0 : 1);
}

TEMPLATE_TEST_CASE("no divergence of nearly equal rows is negative on the device", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  each_divergence([](const auto& d) {
    if (d.name == detail::SoftCrossEntropy{}.name) return;  // no divergence
    for (const Index v : {2, 17, 130})
      for (const double distance : {0.0, 1e-6, 1e-4, 1e-2, 0.1}) {
        const auto same = normals<double>(v, 11, 5), noise = normals<double>(v, 12, distance);
        auto near = same;
        for (std::size_t i = 0; i < near.size(); ++i) near[i] += noise[i];
        Uploaded<T> student(same), teacher(near);
        const Uploaded<float> weight({1});
        auto loss = room_for_losses(1);
        kernels::row_loss<T>(CudaDevice{}, d, {1, v, v, 1.0, false}, student, teacher, weight, loss.data());
        INFO(d.name << ", " << v << " tokens, " << distance << " apart");
        CHECK(loss.to_host()[0] >= -1e-7);
      }
  });
}

TEST_CASE("a row loss of no rows writes nothing on the device") {
  RETORT_NEED_DEVICE();
  auto none = Uploaded<float>::room(0);
  auto loss = room_for_losses(0);
  kernels::row_loss<float>(CudaDevice{}, Jsd{}, {0, 7, 7}, none, none, none, loss.data());
  kernels::sparse_row_loss<float>(CudaDevice{}, Jsd{}, {0, 7, 7, 2}, none, nullptr, none, none, none,
                                  loss.data());
  kernels::cross_entropy<float>(CudaDevice{}, 0, 7, none, nullptr, none, true, loss.data());
  kernels::token_log_probabilities<float>(CudaDevice{}, 0, 7, none, nullptr, 1, none);
  kernels::row_sums<float>(CudaDevice{}, detail::DivergenceSums{}, 0, 7, 7, none, none, loss.data());
  CHECK(none.now().empty());
}

TEMPLATE_TEST_CASE("a teacher's -inf logits give the CPU's losses on the device", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  auto zt = normals<double>(40, 1), zs = normals<double>(40, 2);
  for (std::size_t i = 0; i < zt.size(); i += 3) zt[i] = -HUGE_VAL;
  each_divergence([&](const auto& d) {
    auto student = Uploaded<T>(zs).host, teacher = Uploaded<T>(zt).host;
    const Uploaded<float> weight({1, 2});
    Numbers want(2);
    kernels::row_loss(CpuDevice{}, d, {2, 20, 20}, student.data(), teacher.data(), weight.host.data(),
                      want.data());
    Uploaded<T> s(zs), t(zt);
    auto loss = room_for_losses(2);
    kernels::row_loss<T>(CudaDevice{}, d, {2, 20, 20}, s, t, weight, loss.data());
    INFO(d.name);
    CHECK(error_of(loss.to_host(), want) <= 1e-5);
    CHECK(error_of(s.now(), student) <= device_tolerance<T>);
  });
}

TEMPLATE_TEST_CASE("cross-entropy and log-probabilities on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const Index v : {1, 7, 17, 33, 64, 130, 1000})
    for (const Index offset : {Index{0}, Index{1}})
      for (const bool gradient : {true, false}) {
        const auto z = normals<double>(rows * v, 1, 2);
        const auto ids = indices(rows, v, 2);
        const auto token = uploaded(ids);
        const Uploaded<float> weight(row_weights);
        auto student = Uploaded<T>(z).host;
        const auto unchanged = student;
        Numbers loss(rows), log_p(rows), cool(rows);
        kernels::token_log_probabilities(CpuDevice{}, rows, v, student.data(), ids.data(), 1, log_p.data());
        kernels::token_log_probabilities(CpuDevice{}, rows, v, student.data(), ids.data(), 0.5, cool.data());
        kernels::cross_entropy(CpuDevice{}, rows, v, student.data(), ids.data(), weight.host.data(), gradient,
                               loss.data());
        const auto got = in_every_order([&]() -> std::vector<Numbers> {
          Uploaded<T> s(z, offset);
          auto losses = room_for_losses();
          auto one = Uploaded<float>::room(rows), half = Uploaded<float>::room(rows);
          kernels::token_log_probabilities<T>(CudaDevice{}, rows, v, s, token, 1, one);
          kernels::token_log_probabilities<T>(CudaDevice{}, rows, v, s, token, 0.5, half);
          kernels::cross_entropy<T>(CudaDevice{}, rows, v, s, token, weight, gradient, losses.data());
          return {one.now(), half.now(), losses.to_host(), s.now()};
        });
        INFO(v << " tokens, offset " << offset << ", gradient " << gradient);
        CHECK(error_of(got[0], log_p) <= 1e-5);
        CHECK(error_of(got[1], cool) <= 1e-5);
        CHECK(error_of(got[2], loss) <= 1e-5);
        if (gradient)
          CHECK(error_of(got[3], student) <= device_tolerance<T>);
        else
          CHECK(error_of(got[3], unchanged) == 0);
      }
}

TEMPLATE_TEST_CASE("losses of rows that take the most threads on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  check_row_loss<T>(Jsd{0.5}, 33000, 32800, 1.0, true, true);
  for (const Index v : {33000, 32801}) {
    const auto z = normals<double>(rows * v, 1, 2);
    const auto ids = indices(rows, v, 2);
    const Uploaded<float> weight(row_weights);
    Uploaded<T> s(z);
    auto student = s.host;
    Numbers want(rows);
    kernels::cross_entropy(CpuDevice{}, rows, v, student.data(), ids.data(), weight.host.data(), true,
                           want.data());
    auto loss = room_for_losses();
    kernels::cross_entropy<T>(CudaDevice{}, rows, v, s, uploaded(ids), weight, true, loss.data());
    INFO(v << " tokens");
    CHECK(error_of(loss.to_host(), want) <= 1e-5);
    CHECK(error_of(s.now(), student) <= device_tolerance<T>);
  }
}

TEMPLATE_TEST_CASE("infinite logits and NaN give the CPU's log-probabilities on the device", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  constexpr Index v = 2000;
  for (const Index offset : {0, 1}) {
    auto z = normals<double>(rows * v, 1, 2);
    for (Index i = 0; i < 1500; ++i) z[static_cast<std::size_t>(i)] = -HUGE_VAL;
    z[static_cast<std::size_t>(v + 17)] = std::nan("");
    for (Index i = 2 * v; i < 3 * v; ++i) z[static_cast<std::size_t>(i)] = -HUGE_VAL;
    z[static_cast<std::size_t>(3 * v + 17)] = HUGE_VAL;
    for (Index i = 4 * v; i < 5 * v; ++i) z[static_cast<std::size_t>(i)] = -3e38;
    const std::vector<std::int32_t> ids(rows, 1600);
    const auto token = uploaded(ids);
    Uploaded<T> s(z, offset);
    Numbers want(rows);
    kernels::token_log_probabilities(CpuDevice{}, rows, v, s.host.data(), ids.data(), 1, want.data());
    auto got = Uploaded<float>::room(rows);
    kernels::token_log_probabilities<T>(CudaDevice{}, rows, v, s, token, 1, got);
    CHECK(error_of(got.now(), want) <= 1e-5);
  }
}

TEMPLATE_TEST_CASE("sums over the vocabulary on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  constexpr auto count = static_cast<Index>(detail::DivergenceSums::count);
  for (const auto& [vs, vt] : {std::array<Index, 2>{1, 1}, {7, 17}, {130, 64}, {1000, 1000}}) {
    const auto s = Uploaded<T>::normal(rows * vs, 1, 2), t = Uploaded<T>::normal(rows * vt, 2, 2);
    Numbers want(static_cast<std::size_t>(rows * count));
    kernels::row_sums(CpuDevice{}, detail::DivergenceSums{}, rows, vs, vt, s.host.data(), t.host.data(),
                      want.data());
    const auto got = in_every_order([&, vs = vs, vt = vt]() -> std::vector<Numbers> {
      auto sums = room_for_losses(rows * count);
      kernels::row_sums<T>(CudaDevice{}, detail::DivergenceSums{}, rows, vs, vt, s, t, sums.data());
      return {sums.to_host()};
    });
    INFO(vs << " and " << vt << " tokens");
    CHECK(error_of(got[0], want) <= 1e-5);
  }
}

TEMPLATE_TEST_CASE("losses from a teacher's most probable tokens on the device are the CPU's", "", float,
                   bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  struct Case {
    Index vs, vt, k;
    double temperature;
    bool gradient;
  };
  each_divergence([](const auto& d) {
    for (const auto& c : {Case{1, 1, 1, 1, true}, Case{7, 7, 7, 1, true}, Case{17, 17, 1, 2, true},
                          Case{40, 33, 5, 0.5, true}, Case{130, 130, 64, 1, true},
                          Case{130, 130, 64, 1, false}, Case{300, 290, 130, 1, true}}) {
      const auto teacher = Uploaded<float>::normal(rows * c.vt, 1, 2);
      const kernels::TopKShape top{rows, c.vt, c.vt, c.k, c.temperature};
      auto scratch = teacher.host;
      std::vector<std::int32_t> ids(static_cast<std::size_t>(rows * c.k));
      Numbers log_p(ids.size()), log_tail(rows);
      kernels::top_k_log_probabilities(CpuDevice{}, top, scratch.data(), ids.data(), log_p.data(),
                                       log_tail.data());
      const Uploaded<float> p(log_p), tail(log_tail), weight(row_weights);
      const auto on_device = uploaded(ids);

      const auto z = normals<double>(rows * c.vs, 2, 2);
      auto student = Uploaded<T>(z).host;
      const auto unchanged = student;
      const kernels::SparseRowLossShape shape{rows, c.vs, c.vt, c.k, c.temperature, c.gradient};
      Numbers want(rows);
      kernels::sparse_row_loss(CpuDevice{}, d, shape, student.data(), ids.data(), p.host.data(),
                               tail.host.data(), weight.host.data(), want.data());
      const auto got = in_every_order([&]() -> std::vector<Numbers> {
        Uploaded<T> s(z, 1);
        auto loss = room_for_losses();
        kernels::sparse_row_loss<T>(CudaDevice{}, d, shape, s, on_device, p, tail, weight, loss.data());
        return {loss.to_host(), s.now()};
      });
      INFO(d.name << ", " << c.vs << " and " << c.vt << " tokens, k " << c.k);
      CHECK(error_of(got[0], want) <= 1e-5);
      if (c.gradient)
        CHECK(error_of(got[1], student) <= device_tolerance<T>);
      else
        CHECK(error_of(got[1], unchanged) == 0);
    }
  });
}
