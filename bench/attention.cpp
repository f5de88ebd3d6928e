// Causal self-attention of one sequence, forward and backward, as a share of the machine's arithmetic peak.

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "retort/kernels/cpu/random.hpp"
#include "retort/ops/attention.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

namespace {

using namespace retort;
using B = Cpu<float>;

TensorOf<B> random_tensor(const Shape& shape, std::uint64_t seed) {
  TensorOf<B> t(shape);
  kernels::fill_normal(CpuDevice{}, RandomKey{seed}, t.size(), 0.0f, 1.0f, t.data());
  return t;
}

struct Outcome {
  double forward = 0, backward = 0, seconds = 0;
  double extra_bytes = 0;  ///< beyond inputs, output, and the gradients of both
};

/// Medians of `rounds` after one that is not timed.
Outcome measure(Index length, Index heads, Index width, int rounds) {
  const Index row = heads * width;
  const TensorOf<B> qkv = random_tensor({length, 3 * row}, 1), upstream = random_tensor({length, row}, 2);
  const auto layout = std::make_shared<AttentionLayout>();
  layout->queries = layout->keys = kernels::Segments::packed({static_cast<std::int32_t>(length)});
  const AttentionOptions options{
      .heads = heads, .kv_heads = heads, .scale = 1 / std::sqrt(static_cast<double>(width)), .causal = true};
  auto& pool = Pool<CpuDevice>::instance();
  Outcome out;
  std::vector<double> forward, backward, total;
  Tape<B> tape;
  for (int r = 0; r < rounds + 1; ++r) {
    const Variable<B> x = tape.leaf(qkv);
    const std::size_t before = pool.statistics().in_use;
    pool.reset_peak();
    const double t0 = bench::now();
    const Variable<B> y = self_attention(options, layout, x);
    const double t1 = bench::now();
    tape.backward(y, upstream);
    const double t2 = bench::now();
    const auto outputs = static_cast<std::size_t>(4 * row * length) * sizeof(float);  // y and d_qkv
    out.extra_bytes =
        static_cast<double>(pool.statistics().peak_in_use) - static_cast<double>(before + outputs);
    if (r > 0) forward.push_back(t1 - t0), backward.push_back(t2 - t1), total.push_back(t2 - t0);
  }
  out.forward = bench::median(forward), out.backward = bench::median(backward);
  out.seconds = bench::median(total);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times causal self-attention, forward and backward, against the machine's fp32 peak.");
  Index length = 1024, heads = 12, width = 64;
  int rounds = 20;
  std::string json_file;
  app.add_option("--length", length, "tokens of the sequence")->capture_default_str();
  app.add_option("--heads", heads, "attention heads")->capture_default_str();
  app.add_option("--width", width, "of a head")->capture_default_str();
  app.add_option("--rounds", rounds, "timed rounds (after one that is not)")->capture_default_str();
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("attention", app, argc, argv, [&] {
    const double peak = bench::peak_flops<float>();
    const Outcome o = measure(length, heads, width, rounds);
    const double reference = std::max(peak, bench::peak_flops<float>(0.1));
    const double memory = bench::peak_resident_bytes();
    // Of the causal half: two products forward, five backward (one of them the scores again).
    const double product = static_cast<double>(length * (length + 1) * heads * width);
    fmt::print("retort {}, {}, {} threads, fp32 FMA peak {:.0f} GFLOP/s; {} tokens, {} heads of {}\n\n",
               version, bench::cpu_name(), thread_count(), reference / 1e9, length, heads, width);
    fmt::print("{:<22} {:>9} {:>10} {:>8}\n", "", "ms", "GFLOP/s", "share");
    const auto print = [&](const char* what, double seconds, double flops) {
      fmt::print("{:<22} {:>9.2f} {:>10.1f} {:>7.1f}%\n", what, 1e3 * seconds, flops / seconds / 1e9,
                 100 * flops / seconds / reference);
    };
    print("forward", o.forward, 2 * product);
    print("backward", o.backward, 5 * product);
    print("forward + backward", o.seconds, 7 * product);
    fmt::print("memory beyond inputs, output and gradients: {:.2f} MB\n", o.extra_bytes / 1e6);
    nlohmann::json out = bench::new_report(reference);
    out["rows"].push_back({{"work", fmt::format("attention {} x {} x {}", length, heads, width)},
                           {"seconds", o.seconds},
                           {"forward_seconds", o.forward},
                           {"backward_seconds", o.backward},
                           {"gflops", 7 * product / o.seconds / 1e9},
                           {"share_of_peak", 7 * product / o.seconds / reference},
                           {"peak_bytes", memory},
                           {"extra_bytes", o.extra_bytes}});
    bench::write_report("attention", json_file, out);
    return 0;
  });
}
