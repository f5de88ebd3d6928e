// Fused output projection + divergence at a real vocabulary: time against its own matrix products, and memory
// beyond its inputs and outputs.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/distill/objective.hpp"
#include "retort/models/decoder.hpp"
#include "retort/version.hpp"
#include "support/floors.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

namespace {

using namespace retort;

struct Work {
  Index rows = 1024, vocabulary = 50257, width = 768;
  int rounds = 3;
  std::vector<std::string> divergences{"forward_kl",      "reverse_kl",           "jsd(0.5)",
                                       "total_variation", "skew_forward_kl(0.1)", "skew_reverse_kl(0.1)",
                                       "symmetric_kl"};
  bench::FloorSizes floors{};
};

struct Outcome {
  double seconds = 0, gemm_seconds = 0, extra_megabytes = 0, peak_bytes = 0;
};

/// Forward and backward of one chunked loss; the products it cannot avoid are timed by themselves.
template <Backend B>
Outcome measure(const AnyDivergence& divergence, const Work& work) {
  using T = typename B::Scalar;
  using Float = StatisticOf<B>;
  const Index rows = work.rows, vocabulary = work.vocabulary, width = work.width;
  Parameter<B> student("student", {vocabulary, width}), teacher("teacher", {vocabulary, width});
  student.value = bench::random_tensor<B>({vocabulary, width}, 1, 0.05);
  teacher.value = bench::random_tensor<B>({vocabulary, width}, 2, 0.05);
  const auto hidden = bench::random_tensor<B>({rows, width}, 3, 1),
             teacher_hidden = bench::random_tensor<B>({rows, width}, 4, 1);
  const auto weights = StatisticTensor<B>::full({rows}, 1 / static_cast<Float>(rows));
  auto& pool = Pool<typename B::Device>::instance();
  Outcome out;
  std::vector<double> seconds, gemms;
  for (int r = 0; r < work.rounds + 1; ++r) {
    student.clear_grad();
    if (!student.grad) student.grad = TensorOf<B>(student.shape());  // an output, not extra memory
    Tape<B> tape;
    Context<B> context{.tape = &tape};
    const Variable<B> h = tape.leaf(hidden);
    const std::size_t before = pool.statistics().in_use;
    pool.reset_peak();
    const double began = bench::now_on<B>();
    const auto loss = std::visit(
        [&](const auto& d) {
          return head_divergence(context, d, Head<B>{&student}, h, Head<B>{&teacher}, teacher_hidden,
                                 weights);
        },
        divergence);
    tape.backward(loss.value);
    if (r > 0) seconds.push_back(bench::now_on<B>() - began);
    out.peak_bytes = bench::peak_bytes<B>();
    out.extra_megabytes = static_cast<double>(pool.statistics().peak_in_use - before) / 1e6;

    // logits of both, gradient to hidden and to weight, in the same chunks
    using kernels::Op;
    const typename B::Device on{};
    const Index ld = logits_stride<B>(vocabulary);
    const Index chunk =
        std::min(rows, detail::chunk_of<B>({}, 2 * vocabulary * static_cast<Index>(sizeof(T))));
    TensorOf<B> zs({chunk, ld}), zt({chunk, ld}), dh({chunk, width});
    const double gemm_began = bench::now_on<B>();
    for (Index first = 0; first < rows; first += chunk) {
      const Index n = std::min(chunk, rows - first);
      const T *hs = hidden.data() + first * width, *ht = teacher_hidden.data() + first * width;
      const T *ws = std::as_const(student.value).data(), *wt = std::as_const(teacher.value).data();
      const Float one = 1, none = 0;
      kernels::gemm(on, Op::none, Op::transpose, n, vocabulary, width, one, hs, width, ws, width, none,
                    zs.data(), ld);
      kernels::gemm(on, Op::none, Op::transpose, n, vocabulary, width, one, ht, width, wt, width, none,
                    zt.data(), ld);
      kernels::gemm(on, Op::none, Op::none, n, width, vocabulary, one, zs.data(), ld, ws, width, none,
                    dh.data(), width);
      kernels::gemm(on, Op::transpose, Op::none, vocabulary, width, n, one, zs.data(), ld, hs, width,
                    first == 0 ? none : one, student.grad.data(), width);
    }
    if (r > 0) gemms.push_back(bench::now_on<B>() - gemm_began);
  }
  out.seconds = bench::median(seconds);
  out.gemm_seconds = bench::median(gemms);
  return out;
}

/// Times and prints what `work` says; the report for --json.
template <Backend B>
nlohmann::json time_losses(const Work& work) {
  const double size = sizeof(typename B::Scalar);
  const double rows = static_cast<double>(work.rows), logits = rows * static_cast<double>(work.vocabulary);
  fmt::print("retort {}, {}; {} tokens x {} logits x {} wide; one matrix of logits is {:.0f} MB\n\n", version,
             bench::device_name<B>(), work.rows, work.vocabulary, work.width, logits * size * 1e-6);
  fmt::print("{:<22} {:>9} {:>14} {:>7} {:>14}\n", "divergence", "seconds", "GEMMs alone", "ratio",
             "extra memory");
  const double peak = bench::arithmetic_peak<B>(work.floors);
  bench::reset_peak_bytes<B>();
  nlohmann::json out = bench::new_report_on<B>(peak);
  const double flops = 8 * logits * static_cast<double>(work.width);  // of the products that are timed alone
  constexpr int digits = bench::second_digits<B>;
  for (const auto& name : work.divergences) {
    const Outcome o = measure<B>(parse_divergence(name), work);
    fmt::print("{:<22} {:>9.{}f} {:>14.{}f} {:>7.2f} {:>11.1f} MB\n", name, o.seconds, digits, o.gemm_seconds,
               digits, o.seconds / o.gemm_seconds, o.extra_megabytes);
    out["rows"].push_back({{"divergence", name},
                           {"seconds", o.seconds},
                           {"gemm_seconds", o.gemm_seconds},
                           {"gflops", flops / o.seconds / 1e9},
                           {"share_of_peak", flops / o.seconds / peak},
                           {"peak_bytes", o.peak_bytes},
                           {"extra_bytes", 1e6 * o.extra_megabytes}});
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Times the fused head + divergence against its own matrix products and prints its extra memory.");
  Work work;
  bool tiny = false;
  std::string json_file;
  bench::DeviceFlags device;
  app.add_option("--rows", work.rows, "response tokens")->capture_default_str();
  app.add_option("--vocabulary", work.vocabulary, "logits a token")->capture_default_str();
  app.add_option("--width", work.width, "of the hidden states")->capture_default_str();
  app.add_option("--rounds", work.rounds, "timed rounds (after one that is not)")->capture_default_str();
  app.add_option("--divergences", work.divergences, "which ones")->delimiter(',');
  bench::add_device_flags(app, device);
  app.add_flag("--tiny", tiny, "toy sizes: whether it works");
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("row_loss", app, argc, argv, [&] {
    if (tiny) {
      work.rows = 24, work.vocabulary = 203, work.width = 48;
      work.floors = bench::tiny_floor_sizes();
    }
    bench::with_backend(
        device, [&]<class B>(B) { bench::write_report("row_loss", json_file, time_losses<B>(work)); });
    return 0;
  });
}
