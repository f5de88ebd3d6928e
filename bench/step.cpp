// Training steps at real sizes, as a share of the machine's arithmetic peak measured in the same run.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/decoder_steps.hpp"
#include "support/encoder_decoder_steps.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

namespace {

using namespace retort;
using bench::StepRow, bench::StepSizes;

/// Every step by the name that --work knows it by.
const std::vector<std::pair<std::string, std::function<StepRow(const StepSizes&, int)>>> works{
    {"gpt2",
     [](const StepSizes& s, int rounds) { return bench::decoder_step(s, s.batch, s.length, rounds); }},
    {"gpt2-256",
     [](const StepSizes& s, int rounds) { return bench::decoder_step(s, s.batch, s.long_length, rounds); }},
    {"t5-small", bench::t5_small_step},
    {"gkd", bench::gkd_step},
    {"minillm", bench::minillm_row},
    {"g2p-teacher-sft",
     [](const StepSizes& s, int rounds) {
       return bench::g2p_step(s, "teacher SFT", recipes::sft(), s.g2p_teacher, false, rounds);
     }},
    {"g2p-student-sft",
     [](const StepSizes& s, int rounds) {
       return bench::g2p_step(s, "student SFT", recipes::sft(), s.g2p_student, false, rounds);
     }},
    {"g2p-supervised-kd",
     [](const StepSizes& s, int rounds) {
       return bench::g2p_step(s, "supervised KD", recipes::supervised_kd(), s.g2p_student, true, rounds);
     }},
    {"g2p-on-policy", [](const StepSizes& s, int rounds) {
       return bench::g2p_step(s, "on-policy KD", recipes::on_policy_kd(), s.g2p_student, true, rounds);
     }}};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times training steps at real sizes and prints their share of the machine's fp32 peak.");
  std::vector<std::string> work{"gpt2", "t5-small", "gkd", "minillm"}, names;
  for (const auto& [name, step] : works) names.push_back(name);
  int rounds = 5;
  std::optional<int> batch, length;
  double clip_norm = 0;
  bool tiny = false;
  std::string json_file;
  app.add_option("--work", work, "what to time")
      ->check(CLI::IsMember(names))
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--rounds", rounds, "timed steps (after one that is not)")->capture_default_str();
  app.add_option("--batch", batch, "sequences of the gpt2 steps (default 4)");
  app.add_option("--length", length, "tokens a sequence of the gpt2 step (default 64)");
  app.add_option("--clip", clip_norm, "global norm to clip gradients at, 0: not at all; not of minillm")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--tiny", tiny, "toy sizes: whether it works");
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("step", app, argc, argv, [&] {
    StepSizes sizes = tiny ? bench::tiny_step_sizes() : StepSizes{};
    sizes.batch = batch.value_or(sizes.batch), sizes.length = length.value_or(sizes.length);
    sizes.clip_norm = clip_norm;
    const double peak = bench::peak_flops<float>();
    fmt::print("retort {}, {}, {} threads, fp32 FMA peak {:.0f} GFLOP/s\n\n", version, bench::cpu_name(),
               thread_count(), peak / 1e9);
    fmt::print("{:<48} {:>9} {:>10} {:>8} {:>12}\n", "work", "seconds", "GFLOP/s", "of peak", "peak memory");
    nlohmann::json out = bench::new_report(peak);
    for (const auto& w : work) {
      const auto of_name = [&](const auto& named) { return named.first == w; };
      const StepRow row = std::ranges::find_if(works, of_name)->second(sizes, rounds);
      const double memory = bench::peak_resident_bytes();
      fmt::print("{:<48} {:>9.3f} {:>10.1f} {:>7.1f}% {:>9.2f} GB\n", row.work, row.seconds,
                 row.flops / row.seconds / 1e9, 100 * row.flops / row.seconds / row.peak, memory / 1e9);
      for (const auto& [name, seconds] : row.parts.items())
        fmt::print("    {:<44} {:>9.3f} {:>18.1f}%\n", name, seconds.get<double>(),
                   100 * seconds.get<double>() / row.seconds);
      out["rows"].push_back({{"work", row.work},
                             {"seconds", row.seconds},
                             {"gflops", row.flops / row.seconds / 1e9},
                             {"peak_gflops", row.peak / 1e9},
                             {"share_of_peak", row.flops / row.seconds / row.peak},
                             {"peak_bytes", memory},
                             {"parts", row.parts}});
      Pool<CpuDevice>::instance().trim();
    }
    bench::write_report("step", json_file, out);
    return 0;
  });
}
