#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "numbers.hpp"
#include "retort/core/bf16.hpp"
#include "retort/kernels/cuda/runtime.hpp"
#include "retort/tensor/tensor.hpp"
#include "tiny_models.hpp"

/// Tests of the CUDA device against the CPU in double. They are linked twice: with the library retort::cuda,
/// for a GPU, and with the same kernel text compiled for the host executor.
namespace retort::test {

/// Leaves a test case where there is no GPU (and no executor in its place).
#define RETORT_NEED_DEVICE() \
  if (!cuda::why_unavailable().empty()) RETORT_SKIP(cuda::why_unavailable())

/// How far a result in T may be from the CPU's in double, relative to the largest value: 1e-5 in float, 2e-2
/// in bf16.
template <class T>
constexpr double device_tolerance = sizeof(T) == 4 ? 1e-5 : 2e-2;

using Numbers = std::vector<double>;

/// How many orders of a block's threads a kernel is tried in: 20 by the executor, one on a GPU.
int thread_orders();
/// Chooses the order of the next launches' threads, where they have one to choose.
void set_thread_order(std::uint64_t order);

/// Numbers on the device with others around them that no kernel may touch, and the same (rounded to T) in
/// double. They begin `offset` elements behind a multiple of 256 bytes.
template <class T>
class Uploaded {
 public:
  Numbers host;

  explicit Uploaded(const Numbers& values, Index offset = 0)
      : host(values), offset_(static_cast<std::size_t>(offset)) {
    std::vector<T> all(offset_ + host.size() + behind, static_cast<T>(guard));
    for (std::size_t i = 0; i < host.size(); ++i) {
      all[offset_ + i] = static_cast<T>(host[i]);
      host[i] = as_double(all[offset_ + i]);
    }
    memory_ = Tensor<T, CudaDevice>::from({static_cast<Index>(all.size())}, all);
  }
  /// For a result: NaN.
  static Uploaded room(Index count, Index offset = 0) {
    return Uploaded(Numbers(static_cast<std::size_t>(count), filling), offset);
  }
  /// Standard normal numbers times `deviation`.
  static Uploaded normal(Index count, std::uint64_t stream, double deviation = 1, Index offset = 0) {
    return Uploaded(normals<double>(count, stream, deviation), offset);
  }

  operator T*() { return memory_.data() + offset_; }
  operator const T*() const { return memory_.data() + offset_; }

  /// What is there now. Fails the test if the numbers around them have changed.
  [[nodiscard]] Numbers now() const {
    const auto all = memory_.to_host();
    Numbers inside;
    bool untouched = true;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i >= offset_ && i < offset_ + host.size())
        inside.push_back(as_double(all[i]));
      else
        untouched = untouched && as_double(all[i]) == guard;
    }
    CHECK(untouched);
    return inside;
  }

 private:
  static constexpr int guard = 77;
  static constexpr std::size_t behind = 16;
  static constexpr double filling = std::is_integral_v<T> ? -7 : std::numeric_limits<double>::quiet_NaN();
  static double as_double(T x) {
    if constexpr (std::same_as<T, bf16>)
      return static_cast<double>(static_cast<float>(x));
    else
      return static_cast<double>(x);
  }

  std::size_t offset_;
  Tensor<T, CudaDevice> memory_;
};

inline Uploaded<std::int32_t> uploaded(const std::vector<std::int32_t>& ids) {
  return Uploaded<std::int32_t>(Numbers(ids.begin(), ids.end()));
}

/// What `f` returns, a list of Numbers; a failed check if it is not the same bits in every order of threads.
template <class F>
std::vector<Numbers> in_every_order(F f) {
  set_thread_order(0);
  const std::vector<Numbers> first = f();
  for (int order = 1; order < thread_orders(); ++order) {
    set_thread_order(static_cast<std::uint64_t>(order));
    const std::vector<Numbers> again = f();
    bool same = again.size() == first.size();
    for (std::size_t i = 0; same && i < first.size(); ++i)
      same = std::ranges::equal(
          again[i], first[i], [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); });
    INFO("thread order " << order);
    CHECK(same);
  }
  return first;
}

/// Largest |got - want| as a share of the largest |want|; infinite if the sizes differ, or where one is not
/// finite and the other is not the same. `scale`: a size that rounding is measured by besides, for results
/// that cancel.
inline double error_of(const Numbers& got, const Numbers& want, double scale = 0) {
  if (got.size() != want.size()) return HUGE_VAL;
  double worst = 0, largest = scale;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))) {
      if (std::isfinite(want[i])) largest = std::max(largest, std::abs(want[i]));
      continue;
    }
    if (!std::isfinite(got[i]) || !std::isfinite(want[i])) return HUGE_VAL;
    worst = std::max(worst, std::abs(got[i] - want[i]));
    largest = std::max(largest, std::abs(want[i]));
  }
  return worst == 0 ? 0 : worst / largest;
}

/// A tensor's numbers in double.
template <class T>
std::vector<double> numbers(const Tensor<T, CudaDevice>& t) {
  std::vector<double> out;
  for (const auto x : t.to_host()) {
    if constexpr (std::same_as<T, bf16>)
      out.push_back(static_cast<double>(static_cast<float>(x)));
    else
      out.push_back(static_cast<double>(x));
  }
  return out;
}

/// All weights of a model on the device or the CPU, in double.
template <class Model>
std::vector<double> weights_of(Model& model) {
  std::vector<double> all;
  for (const auto* p : parameters(model))
    for (const auto x : p->value.to_host()) {
      if constexpr (std::same_as<typename Model::Backend::Scalar, bf16>)
        all.push_back(static_cast<double>(static_cast<float>(x)));
      else
        all.push_back(static_cast<double>(x));
    }
  return all;
}

/// A tiny decoder whose query heads share key heads.
inline DecoderConfig grouped_config() {
  auto config = tiny_decoder_config();
  config.heads = 4, config.kv_heads = 2, config.head_width = 4;
  return config;
}

/// The same weights in another backend's model, by way of double.
template <class From, class To>
void copy_weights(From& from, To& to) {
  using T = typename To::Backend::Scalar;
  auto source = parameters(from);
  auto target = parameters(to);
  REQUIRE(source.size() == target.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    std::vector<T> values;
    for (const auto x : source[i]->value.to_host()) values.push_back(static_cast<T>(static_cast<float>(x)));
    target[i]->value = TensorOf<typename To::Backend>::from(source[i]->shape(), values);
  }
}

/// Rounds a model's weights to T, so that a model in T has the very same.
template <class T, class Model>
void round_weights(Model& model) {
  for (auto* p : parameters(model))
    for (auto& x : p->value.span())
      x = static_cast<double>(static_cast<float>(static_cast<T>(static_cast<float>(x))));
}

}  // namespace retort::test
