#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
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

/// Peak of all threads together, operations a second: the best of three runs of `seconds`.
template <class T>
double peak_flops(double seconds = 0.2) {
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<double> parts(static_cast<std::size_t>(retort::thread_count()), 0);
    retort::parallel_each(retort::thread_count(), 1, [&](std::int64_t t) {
      parts[static_cast<std::size_t>(t)] = fma_chain<T>(seconds);
    });
    double total = 0;
    for (const double p : parts) total += p;
    best = std::max(best, total);
  }
  return best;
}

/// Bytes of this process in memory now.
inline double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
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
