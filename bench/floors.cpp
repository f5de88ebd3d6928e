// What this machine can do at most: the floors that the other benchmarks are compared with.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/version.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

int main(int argc, char** argv) {
  CLI::App app("Measures the machine: fused multiply-adds a second, memory read and copied a second.");
  std::string json_file;
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("floors", app, argc, argv, [&] {
    const int all = retort::thread_count();
    fmt::print("retort {}, {}, {} threads, {}-bit SIMD\n\n", retort::version, bench::cpu_name(), all,
               8 * sizeof(float) * retort::kernels::cpu::Pack<float>::size);
    fmt::print("{:<32} {:>12} {:>12}\n", "", "one thread", fmt::format("{} threads", all));
    nlohmann::json out{{"cpu", bench::cpu_name()}, {"threads", all}};
    const auto row = [&](const char* what, const char* unit, auto measure) {
      const double one = measure(1) / 1e9, together = measure(all) / 1e9;
      fmt::print("{:<32} {:>12.1f} {:>12.1f}\n", fmt::format("{}, {}", what, unit), one, together);
      out[what] = {{"one_thread", one * 1e9}, {"all_threads", together * 1e9}};
    };
    row("fp32 FMA", "GFLOP/s", [](int threads) { return bench::peak_flops<float>(0.2, threads); });
    row("fp64 FMA", "GFLOP/s", [](int threads) { return bench::peak_flops<double>(0.2, threads); });
    row("memory read", "GB/s", [](int threads) { return bench::read_bandwidth(threads); });
    row("memory copy", "GB/s, both ways", [](int threads) { return bench::copy_bandwidth(threads); });
    bench::write_report("floors", json_file, out);
    return 0;
  });
}
