// Fused output projection + divergence at a real vocabulary: time against its own matrix products, and memory
// beyond its inputs and outputs.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/distill/objective.hpp"
#include "retort/kernels/cpu/random.hpp"
#include "retort/models/decoder.hpp"
#include "retort/version.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

namespace {

using namespace retort;
using B = Cpu<float>;

TensorOf<B> random_tensor(const Shape& shape, std::uint64_t seed, float deviation) {
  TensorOf<B> t(shape);
  kernels::fill_normal(CpuDevice{}, RandomKey{seed}, t.size(), 0.0f, deviation, t.data());
  return t;
}

struct Outcome {
  double seconds = 0, gemm_seconds = 0, extra_megabytes = 0;
};

/// Forward and backward of one chunked loss; the products it cannot avoid are timed by themselves.
Outcome measure(const AnyDivergence& divergence, Index rows, Index vocabulary, Index width, int rounds) {
  Parameter<B> student("student", {vocabulary, width}), teacher("teacher", {vocabulary, width});
  student.value = random_tensor({vocabulary, width}, 1, 0.05f);
  teacher.value = random_tensor({vocabulary, width}, 2, 0.05f);
  const auto hidden = random_tensor({rows, width}, 3, 1.0f),
             teacher_hidden = random_tensor({rows, width}, 4, 1.0f);
  const auto weights = TensorOf<B>::full({rows}, 1.0f / static_cast<float>(rows));
  auto& pool = Pool<CpuDevice>::instance();
  Outcome out;
  std::vector<double> seconds, gemms;
  for (int r = 0; r < rounds + 1; ++r) {
    student.clear_grad();
    if (!student.grad) student.grad = TensorOf<B>(student.shape());  // an output, not extra memory
    Tape<B> tape;
    Context<B> context{.tape = &tape};
    const Variable<B> h = tape.leaf(hidden);
    const std::size_t before = pool.statistics().in_use;
    pool.reset_peak();
    const double began = bench::now();
    const auto loss = std::visit(
        [&](const auto& d) {
          return head_divergence(context, d, Head<B>{&student}, h, Head<B>{&teacher}, teacher_hidden,
                                 weights);
        },
        divergence);
    tape.backward(loss.value);
    if (r > 0) seconds.push_back(bench::now() - began);
    out.extra_megabytes = static_cast<double>(pool.statistics().peak_in_use - before) / 1e6;

    // logits of both, gradient to hidden and to weight, in the same chunks
    using kernels::Op;
    const Index chunk = std::min(rows, detail::chunk_of({}, 2 * vocabulary * 4));
    TensorOf<B> zs({chunk, vocabulary}), zt({chunk, vocabulary}), dh({chunk, width});
    const double gemm_began = bench::now();
    for (Index first = 0; first < rows; first += chunk) {
      const Index n = std::min(chunk, rows - first);
      const float *hs = hidden.data() + first * width, *ht = teacher_hidden.data() + first * width;
      const float *ws = std::as_const(student.value).data(), *wt = std::as_const(teacher.value).data();
      kernels::gemm(CpuDevice{}, Op::none, Op::transpose, n, vocabulary, width, 1.0f, hs, width, ws, width,
                    0.0f, zs.data(), vocabulary);
      kernels::gemm(CpuDevice{}, Op::none, Op::transpose, n, vocabulary, width, 1.0f, ht, width, wt, width,
                    0.0f, zt.data(), vocabulary);
      kernels::gemm(CpuDevice{}, Op::none, Op::none, n, width, vocabulary, 1.0f, zs.data(), vocabulary, ws,
                    width, 0.0f, dh.data(), width);
      kernels::gemm(CpuDevice{}, Op::transpose, Op::none, vocabulary, width, n, 1.0f, zs.data(), vocabulary,
                    hs, width, first == 0 ? 0.0f : 1.0f, student.grad.data(), width);
    }
    if (r > 0) gemms.push_back(bench::now() - gemm_began);
  }
  out.seconds = bench::median(seconds);
  out.gemm_seconds = bench::median(gemms);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Times the fused head + divergence against its own matrix products and prints its extra memory.");
  Index rows = 1024, vocabulary = 50257, width = 768;
  int rounds = 3;
  std::vector<std::string> divergences{"forward_kl",      "reverse_kl",           "jsd(0.5)",
                                       "total_variation", "skew_forward_kl(0.1)", "skew_reverse_kl(0.1)",
                                       "symmetric_kl"};
  std::string json_file;
  app.add_option("--rows", rows, "response tokens")->capture_default_str();
  app.add_option("--vocabulary", vocabulary, "logits a token")->capture_default_str();
  app.add_option("--width", width, "of the hidden states")->capture_default_str();
  app.add_option("--rounds", rounds, "timed rounds (after one that is not)")->capture_default_str();
  app.add_option("--divergences", divergences, "which ones")->delimiter(',');
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("row_loss", app, argc, argv, [&] {
    fmt::print(
        "retort {}, {}, {} threads; {} tokens x {} logits x {} wide; one matrix of logits is {:.0f} MB\n\n",
        version, bench::cpu_name(), thread_count(), rows, vocabulary, width,
        static_cast<double>(rows * vocabulary) * 4e-6);
    fmt::print("{:<22} {:>9} {:>14} {:>7} {:>14}\n", "divergence", "seconds", "GEMMs alone", "ratio",
               "extra memory");
    nlohmann::json out = bench::new_report(bench::peak_flops<float>());
    const double peak = out["peak_gflops"].get<double>() * 1e9;
    // logits of both, gradient to hidden and to weight
    const double flops = 8 * static_cast<double>(rows) * static_cast<double>(vocabulary * width);
    for (const auto& name : divergences) {
      const Outcome o = measure(parse_divergence(name), rows, vocabulary, width, rounds);
      fmt::print("{:<22} {:>9.3f} {:>14.3f} {:>7.2f} {:>11.1f} MB\n", name, o.seconds, o.gemm_seconds,
                 o.seconds / o.gemm_seconds, o.extra_megabytes);
      out["rows"].push_back({{"divergence", name},
                             {"seconds", o.seconds},
                             {"gemm_seconds", o.gemm_seconds},
                             {"gflops", flops / o.seconds / 1e9},
                             {"share_of_peak", flops / o.seconds / peak},
                             {"peak_bytes", bench::peak_resident_bytes()},
                             {"extra_bytes", 1e6 * o.extra_megabytes}});
    }
    bench::write_report("row_loss", json_file, out);
    return 0;
  });
}
