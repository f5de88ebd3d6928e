#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "retort/core/parallel.hpp"
#include "retort/kernels/cpu/pack.hpp"

/// What a machine can do, measured: the floors that every figure is compared with.
namespace bench {

/// Seconds on a steady clock.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Floating-point operations a second of one thread running independent chains of fused multiply-adds.
template <class T>
double fma_chain(double seconds) {
  using P = retort::kernels::cpu::Pack<T>;
  constexpr int chains = 16;
  P x[chains];
#pragma GCC unroll 16
  for (int c = 0; c < chains; ++c) x[c] = P(static_cast<T>(c));
  const P a(static_cast<T>(0.999)), b(static_cast<T>(0.001));
  double operations = 0;
  const double begin = now();
  double end = begin;
  while (end - begin < seconds) {
    for (int i = 0; i < 20000; ++i) {
#pragma GCC unroll 16
      for (int c = 0; c < chains; ++c) x[c] = fma(x[c], a, b);
    }
    operations += 20000.0 * chains * P::size * 2;
    end = now();
  }
  T sink = 0;
  for (int c = 0; c < chains; ++c) sink += x[c].sum();
  volatile T keep = sink;
  (void)keep;
  return operations / (end - begin);
}

/// Peak of `threads` threads together (0: all), operations a second: the best of three runs of `seconds`.
template <class T>
double peak_flops(double seconds = 0.2, int threads = 0) {
  if (threads == 0) threads = retort::thread_count();
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<double> parts(static_cast<std::size_t>(threads), 0);
    retort::parallel_each(
        threads, 1, [&](std::int64_t t) { parts[static_cast<std::size_t>(t)] = fma_chain<T>(seconds); });
    double total = 0;
    for (const double p : parts) total += p;
    best = std::max(best, total);
  }
  return best;
}

/// Bytes a second that `threads` threads together read of memory which no cache holds, in order, each its own
/// part: the best of five passes over `bytes`.
inline double read_bandwidth(int threads, double bytes = 1e9) {
  using P = retort::kernels::cpu::Pack<float>;
  constexpr std::int64_t group = 8 * P::size;
  const auto part = static_cast<std::int64_t>(bytes / sizeof(float) / threads) / group * group;
  std::vector<float> memory(static_cast<std::size_t>(part * threads), 1.0f);
  std::vector<float> sums(static_cast<std::size_t>(threads));
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double begin = now();
    retort::parallel_each(threads, 1, [&](std::int64_t t) {
      P sum[8];
      for (auto& s : sum) s = P(0.0f);
      const float* from = memory.data() + t * part;
      for (std::int64_t i = 0; i < part; i += group)
#pragma GCC unroll 8
        for (int c = 0; c < 8; ++c) sum[c] = sum[c] + P::load(from + i + c * P::size);
      float total = 0;
      for (auto& s : sum) total += static_cast<float>(s.sum());
      sums[static_cast<std::size_t>(t)] = total;
    });
    best = std::max(best, static_cast<double>(part * threads) * sizeof(float) / (now() - begin));
  }
  volatile float keep = sums[0];
  (void)keep;
  return best;
}

/// Bytes a second, read and written counted together, of `threads` threads that copy memory which no cache
/// holds: the best of five copies of `bytes`.
inline double copy_bandwidth(int threads, double bytes = 5e8) {
  const auto part = static_cast<std::size_t>(bytes / threads);
  std::vector<char> from(part * static_cast<std::size_t>(threads), 1), to(from.size(), 2);
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double begin = now();
    retort::parallel_each(threads, 1, [&](std::int64_t t) {
      const std::size_t at = static_cast<std::size_t>(t) * part;
      std::memcpy(to.data() + at, from.data() + at, part);
    });
    best = std::max(best, 2 * static_cast<double>(from.size()) / (now() - begin));
  }
  volatile char keep = to.back();
  (void)keep;
  return best;
}

/// Bytes of this process in memory now.
inline double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

/// From here on `peak_resident_bytes` counts anew, from what is in memory now (Linux; elsewhere nothing
/// happens).
inline void reset_peak_resident_bytes() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

/// Largest number of bytes of this process in memory so far.
inline double peak_resident_bytes() {
  std::ifstream file("/proc/self/status");
  std::string word;
  while (file >> word)
    if (word == "VmHWM:") {
      double kilobytes = 0;
      file >> kilobytes;
      return kilobytes * 1024;
    }
  return 0;
}

/// The processor's name.
inline std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace bench
