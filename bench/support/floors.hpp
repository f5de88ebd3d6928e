#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "device.hpp"
#include "report.hpp"
#include "retort/kernels/contract.hpp"

/// The floors of a backend, measured: on the CPU as machine.hpp does, on a GPU by a matrix product and a
/// copy.
namespace bench {

/// What a GPU's floors are measured with; a CPU's have sizes of their own.
struct FloorSizes {
  retort::Index square = 8192;                      ///< rows and columns of the factors
  retort::Index copied = retort::Index{512} << 20;  ///< bytes
};

/// Toy sizes.
[[nodiscard]] inline FloorSizes tiny_floor_sizes() {
  return {.square = 64, .copied = 4096};
}

/// Least seconds of one call among four in a row, of five times after one that does not count.
template <retort::Backend B, class F>
[[nodiscard]] double least_seconds(F f) {
  constexpr int rounds = 5, calls = 4;
  double least = 0;
  for (int r = 0; r < rounds + 1; ++r) {
    const double began = now_on<B>();
    for (int i = 0; i < calls; ++i) f();
    const double seconds = (now_on<B>() - began) / calls;
    if (r > 0) least = r == 1 ? seconds : std::min(least, seconds);
  }
  return least;
}

/// The arithmetic's peak, operations a second: on the CPU of fp32 multiply-adds, on a GPU of a product of
/// square matrices of B's numbers.
template <retort::Backend B>
[[nodiscard]] double arithmetic_peak([[maybe_unused]] const FloorSizes& sizes) {
  if constexpr (on_cpu<B>) {
    return peak_flops<typename B::Scalar>();
  } else {
    using retort::kernels::Op;
    const retort::Index n = sizes.square;
    const auto left = random_tensor<B>({n, n}, 1, 1), right = random_tensor<B>({n, n}, 2, 1);
    retort::TensorOf<B> product({n, n});
    const double seconds = least_seconds<B>([&] {
      retort::kernels::gemm(typename B::Device{}, Op::none, Op::none, n, n, n, retort::StatisticOf<B>(1),
                            left.data(), n, right.data(), n, retort::StatisticOf<B>(0), product.data(), n);
    });
    return 2 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds;
  }
}

/// Memory's speed, bytes a second: on the CPU read by all threads, on a GPU read and written, counted
/// together, by a copy.
template <retort::Backend B>
[[nodiscard]] double memory_bandwidth([[maybe_unused]] const FloorSizes& sizes) {
  if constexpr (on_cpu<B>) {
    return read_bandwidth(retort::thread_count());
  } else {
    using T = typename B::Scalar;
    const auto from = retort::TensorOf<B>::zeros({sizes.copied / retort::Index{sizeof(T)}});
    retort::TensorOf<B> to(from.shape());
    const double seconds = least_seconds<B>(
        [&] { retort::memory::copy(typename B::Device{}, from.data(), to.data(), from.size()); });
    return 2 * static_cast<double>(from.size()) * sizeof(T) / seconds;
  }
}

/// Device and arithmetic peak (operations a second) in words.
template <retort::Backend B>
[[nodiscard]] std::string describe_peak(const FloorSizes& sizes, double peak) {
  if constexpr (on_cpu<B>)
    return fmt::format("{}, fp32 FMA peak {:.0f} GFLOP/s", device_name<B>(), peak / 1e9);
  else
    return fmt::format("{}, {} product of {} x {} matrices {:.0f} GFLOP/s", device_name<B>(), dtype_name<B>(),
                       sizes.square, sizes.square, peak / 1e9);
}

/// `new_report` of a program that ran on B: on a GPU with its name and the dtype.
template <retort::Backend B>
[[nodiscard]] nlohmann::json new_report_on(double peak) {
  nlohmann::json report = new_report(peak);
  if constexpr (!on_cpu<B>) report["device"] = device_name<B>(), report["dtype"] = dtype_name<B>();
  return report;
}

}  // namespace bench
