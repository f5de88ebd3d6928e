// Decoding with a model of GPT-2 124M's shape: one sequence, bound by reading every weight once a token, and
// many at a time, bound by arithmetic.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "retort/generate/generate.hpp"
#include "retort/models/decoder.hpp"
#include "retort/version.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"
#include "support/sequences.hpp"

namespace {

using namespace retort;
using B = Cpu<float>;

struct Outcome {
  double seconds = 0;  ///< of `fresh` tokens for each prompt, and reading the prompts
  double prompt = 0;   ///< of reading the prompts and one token for each
};

/// Medians of `rounds` after one that is not timed.
Outcome measure(const Decoder<B>& model, int batch, int prompt, int fresh, int rounds) {
  const Sequences prompts = bench::random_sequences(batch, prompt, static_cast<int>(model.vocabulary()), 1);
  const std::vector<std::uint64_t> ids = numbered(prompts, prompts).ids;
  std::vector<double> whole, first;
  for (int r = 0; r < rounds + 1; ++r)
    for (const int tokens : {1, fresh}) {
      const double begin = bench::now();
      (void)generate(model, prompts, ids, Temperature{},
                     {.max_tokens = tokens, .end_token = -1, .key = {7, static_cast<std::uint64_t>(r)}});
      if (r > 0) (tokens == 1 ? first : whole).push_back(bench::now() - begin);
    }
  return {bench::median(whole), bench::median(first)};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times sampling from a model of GPT-2 124M's shape against the machine's floors.");
  std::vector<int> batches{1, 8, 32};
  int prompt = 28, fresh = 64, rounds = 3;
  bool tiny = false;
  std::string json_file;
  app.add_option("--batches", batches, "prompts at a time")->delimiter(',')->capture_default_str();
  app.add_option("--prompt", prompt, "tokens of a prompt")->capture_default_str();
  app.add_option("--fresh", fresh, "new tokens, at least 2")->capture_default_str();
  app.add_option("--rounds", rounds, "timed rounds (after one that is not)")->capture_default_str();
  app.add_flag("--tiny", tiny, "a toy model: whether it works");
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("decode", app, argc, argv, [&] {
    if (fresh < 2) fail<ValueError>("decode", "--fresh {}, expected at least 2", fresh);
    const double peak = bench::peak_flops<float>(), bandwidth = bench::read_bandwidth(thread_count());
    fmt::print("retort {}, {}, {} threads, fp32 FMA peak {:.0f} GFLOP/s, memory read {:.1f} GB/s\n\n",
               version, bench::cpu_name(), thread_count(), peak / 1e9, bandwidth / 1e9);
    fmt::print("{:>6} {:>14} {:>14} {:>18} {:>16}\n", "batch", "ms a pass", "tokens/s", "of the bandwidth",
               "of the peak");
    bench::reset_peak_resident_bytes();  // measuring the memory's speed took a lot of it
    Decoder<B> model(
        tiny ? DecoderConfig{.vocabulary = 101, .width = 48, .layers = 3, .heads = 4, .hidden = 192}
             : DecoderConfig{});
    // A pass reads every weight but the tables that it looks rows up in; the tied head reads its whole table.
    const double weights = static_cast<double>(parameter_count(parameters(model)) -
                                               model.config().positions * model.config().width);
    nlohmann::json out = bench::new_report(peak);
    out["read_gigabytes_per_second"] = bandwidth / 1e9;
    for (const int batch : batches) {
      const Outcome o = measure(model, batch, prompt, fresh, rounds);
      const double pass = (o.seconds - o.prompt) / (fresh - 1);
      const double read = sizeof(float) * weights / pass / bandwidth,
                   computed = 2 * weights * batch / pass / peak;
      fmt::print("{:>6} {:>14.2f} {:>14.1f} {:>16.1f} % {:>14.1f} %\n", batch, 1e3 * pass,
                 batch * fresh / o.seconds, 100 * read, 100 * computed);
      out["rows"].push_back({{"batch", batch},
                             {"seconds", o.seconds},
                             {"prompt_seconds", o.prompt},
                             {"seconds_per_pass", pass},
                             {"share_of_bandwidth", read},
                             {"share_of_peak", computed},
                             {"peak_bytes", bench::peak_resident_bytes()}});
    }
    bench::write_report("decode", json_file, out);
    return 0;
  });
}
