// Decoding with a model of GPT-2 124M's shape: one sequence, bound by reading every weight once a token, and
// many at a time, bound by arithmetic.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/generate/generate.hpp"
#include "retort/models/decoder.hpp"
#include "retort/version.hpp"
#include "support/floors.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"
#include "support/sequences.hpp"

namespace {

using namespace retort;

/// What is timed.
struct Work {
  std::vector<int> batches{1, 8, 32};
  int prompt = 28, fresh = 64, rounds = 3;
  DecoderConfig model{};
  bench::FloorSizes floors{};
};

struct Outcome {
  double seconds = 0;  ///< of `fresh` tokens for each prompt, and reading the prompts
  double prompt = 0;   ///< of reading the prompts and one token for each
};

/// Medians of the rounds after one that is not timed.
template <Backend B>
Outcome measure(const Decoder<B>& model, const Work& work, int batch) {
  const Sequences prompts =
      bench::random_sequences(batch, work.prompt, static_cast<int>(model.vocabulary()), 1);
  const std::vector<std::uint64_t> ids = numbered(prompts, prompts).ids;
  std::vector<double> whole, first;
  for (int r = 0; r < work.rounds + 1; ++r)
    for (const int tokens : {1, work.fresh}) {
      const double begin = bench::now_on<B>();
      (void)generate(model, prompts, ids, Temperature{},
                     {.max_tokens = tokens, .end_token = -1, .key = {7, static_cast<std::uint64_t>(r)}});
      if (r > 0) (tokens == 1 ? first : whole).push_back(bench::now_on<B>() - begin);
    }
  return {bench::median(whole), bench::median(first)};
}

/// Times and prints what `work` says; the report for --json.
template <Backend B>
nlohmann::json time_decoding(const Work& work) {
  const double peak = bench::arithmetic_peak<B>(work.floors),
               bandwidth = bench::memory_bandwidth<B>(work.floors);
  constexpr const char* moved = bench::on_cpu<B> ? "read" : "copy";
  fmt::print("retort {}, {}, memory {} {:.1f} GB/s\n\n", version, bench::describe_peak<B>(work.floors, peak),
             moved, bandwidth / 1e9);
  fmt::print("{:>6} {:>14} {:>14} {:>18} {:>16}\n", "batch", "ms a pass", "tokens/s", "of the bandwidth",
             "of the peak");
  bench::reset_peak_bytes<B>();  // measuring the floors took a lot of memory
  Decoder<B> model(work.model);
  // A pass reads every weight but the tables that it looks rows up in; the tied head reads its whole table.
  const double weights = static_cast<double>(parameter_count(parameters(model)) -
                                             model.config().positions * model.config().width);
  nlohmann::json out = bench::new_report_on<B>(peak);
  out[fmt::format("{}_gigabytes_per_second", moved)] = bandwidth / 1e9;
  for (const int batch : work.batches) {
    const Outcome o = measure(model, work, batch);
    const double pass = (o.seconds - o.prompt) / (work.fresh - 1);
    const double read = sizeof(typename B::Scalar) * weights / pass / bandwidth,
                 computed = 2 * weights * batch / pass / peak;
    fmt::print("{:>6} {:>14.{}f} {:>14.1f} {:>16.1f} % {:>14.1f} %\n", batch, 1e3 * pass,
               bench::second_digits<B> - 1, batch * work.fresh / o.seconds, 100 * read, 100 * computed);
    out["rows"].push_back({{"batch", batch},
                           {"seconds", o.seconds},
                           {"prompt_seconds", o.prompt},
                           {"seconds_per_pass", pass},
                           {"share_of_bandwidth", read},
                           {"share_of_peak", computed},
                           {"peak_bytes", bench::peak_bytes<B>()}});
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times sampling from a model of GPT-2 124M's shape against the device's floors.");
  Work work;
  bool tiny = false;
  std::string json_file;
  bench::DeviceFlags device;
  app.add_option("--batches", work.batches, "prompts at a time")->delimiter(',')->capture_default_str();
  app.add_option("--prompt", work.prompt, "tokens of a prompt")->capture_default_str();
  app.add_option("--fresh", work.fresh, "new tokens, at least 2")->capture_default_str();
  app.add_option("--rounds", work.rounds, "timed rounds (after one that is not)")->capture_default_str();
  bench::add_device_flags(app, device);
  app.add_flag("--tiny", tiny, "a toy model: whether it works");
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("decode", app, argc, argv, [&] {
    if (work.fresh < 2) fail<ValueError>("decode", "--fresh {}, expected at least 2", work.fresh);
    if (tiny) {
      work.model = {.vocabulary = 101, .width = 48, .layers = 3, .heads = 4, .hidden = 192};
      work.floors = bench::tiny_floor_sizes();
    }
    bench::with_backend(
        device, [&]<class B>(B) { bench::write_report("decode", json_file, time_decoding<B>(work)); });
    return 0;
  });
}
