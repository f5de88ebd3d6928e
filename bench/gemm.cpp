// The matrix product in the shapes of transformers: retort's own, OpenBLAS' where it is installed, Eigen's,
// in turn.

#include <CLI/CLI.hpp>
#include <Eigen/Core>

#include "retort/kernels/cpu/gemm_tiles.hpp"
#include "retort/version.hpp"
#include "support/flags.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#if defined(RETORT_BENCH_CBLAS)
#include <cblas.h>
#endif

namespace {

using namespace retort;
using kernels::Op;
using Product = kernels::cpu::Product<float>;

struct Work {
  const char* name;
  Op op_a, op_b;
  Index m, n, k;
};

#if defined(RETORT_BENCH_CBLAS)
void by_openblas(const Product& p) {
  const auto transposition = [](Op op) { return op == Op::none ? CblasNoTrans : CblasTrans; };
  const auto i = [](Index x) { return static_cast<blasint>(x); };
  cblas_sgemm(CblasRowMajor, transposition(p.op_a), transposition(p.op_b), i(p.m), i(p.n), i(p.k), p.alpha,
              p.a, i(p.lda), p.b, i(p.ldb), p.beta, p.c, i(p.ldc));
}
#endif

void by_eigen(const Product& p) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const bool ta = p.op_a == Op::transpose, tb = p.op_b == Op::transpose;
  const Eigen::Map<const Matrix> a(p.a, ta ? p.k : p.m, ta ? p.m : p.k),
      b(p.b, tb ? p.n : p.k, tb ? p.k : p.n);
  Eigen::Map<Matrix> c(p.c, p.m, p.n);
  if (ta)
    c.noalias() = a.transpose() * b;
  else if (tb)
    c.noalias() = a * b.transpose();
  else
    c.noalias() = a * b;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Times matrix products in the shapes of transformers against other libraries, in alternating rounds: "
      "medians.");
  int rounds = 15;
  app.add_option("--rounds", rounds, "timed rounds")
      ->capture_default_str()
      ->check(support::above_zero<int>());
  return support::run_program("gemm", app, argc, argv, [&] {
    constexpr Op none = Op::none, transpose = Op::transpose;
    const Work list[] = {{"gpt2 4 x 64, up", none, transpose, 256, 3072, 768},
                         {"  its gradient to x", none, none, 256, 768, 3072},
                         {"  its gradient to w", transpose, none, 3072, 768, 256},
                         {"gpt2 4 x 64, head", none, transpose, 256, 50257, 768},
                         {"  its gradient to x", none, none, 256, 768, 50257},
                         {"  its gradient to w", transpose, none, 50257, 768, 256},
                         {"gpt2 4 x 256, up", none, transpose, 1024, 3072, 768},
                         {"  its gradient to x", none, none, 1024, 768, 3072},
                         {"  its gradient to w", transpose, none, 3072, 768, 1024},
                         {"g2p, up", none, transpose, 2500, 96, 48},
                         {"  its gradient to x", none, none, 2500, 48, 96},
                         {"  its gradient to w", transpose, none, 96, 48, 2500},
                         {"attention scores", none, transpose, 64, 64, 64},
                         {"attention result", none, none, 64, 64, 64},
                         {"decode 1, qkv", none, transpose, 1, 2304, 768},
                         {"decode 8, qkv", none, transpose, 8, 2304, 768},
                         {"decode 32, qkv", none, transpose, 32, 2304, 768},
                         {"decode 32, head", none, transpose, 32, 50257, 768}};
    std::vector<std::pair<const char*, void (*)(const Product&)>> ways{
        {"retort", kernels::cpu::multiply<float>}, {"Eigen", by_eigen}};
#if defined(RETORT_BENCH_CBLAS)
    ways.insert(ways.begin() + 1, {"OpenBLAS", by_openblas});
#endif
    const double peak = bench::peak_flops<float>();
    fmt::print("retort {}, {}, {} threads, fp32 FMA peak {:.0f} GFLOP/s; GFLOP/s, medians of {} rounds\n\n",
               version, bench::cpu_name(), thread_count(), peak / 1e9, rounds);
    fmt::print("{:<22} {:>18} {:>14}", "product", "m x n x k", "share of peak");
    for (const auto& way : ways) fmt::print(" {:>9}", way.first);
    fmt::print("\n");
    for (const Work& w : list) {
      const bool ta = w.op_a == transpose, tb = w.op_b == transpose;
      const std::vector<float> a(static_cast<std::size_t>(w.m * w.k), 0.5F),
          b(static_cast<std::size_t>(w.n * w.k), 0.25F);
      std::vector<float> c(static_cast<std::size_t>(w.m * w.n));
      const Product p{w.op_a,   w.op_b,         w.m,  w.n,      w.k, 1.0F, a.data(), ta ? w.m : w.k,
                      b.data(), tb ? w.k : w.n, 0.0F, c.data(), w.n};
      const double flops =
          2.0 * static_cast<double>(w.m) * static_cast<double>(w.n) * static_cast<double>(w.k);
      const int calls = static_cast<int>(std::max(1.0, 5e7 / flops));
      std::vector<std::vector<double>> seconds(ways.size());
      for (int r = 0; r <= rounds; ++r)
        for (std::size_t i = 0; i < ways.size(); ++i) {
          const double start = bench::now();
          for (int call = 0; call < calls; ++call) ways[i].second(p);
          if (r > 0) seconds[i].push_back((bench::now() - start) / calls);
        }
      fmt::print("{:<22} {:>18} {:>13.1f}%", w.name, fmt::format("{} x {} x {}", w.m, w.n, w.k),
                 100 * flops / bench::median(seconds[0]) / peak);
      for (const auto& s : seconds) fmt::print(" {:>9.1f}", flops / bench::median(s) / 1e9);
      fmt::print("\n");
    }
    return 0;
  });
}
