// Training steps at real sizes, as a share of the device's arithmetic peak measured in the same run.

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
#include "support/floors.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

namespace {

using namespace retort;
using bench::StepRow, bench::StepSizes;

/// Every step by the name that --work knows it by.
template <Backend B>
const std::vector<std::pair<std::string, std::function<StepRow(const StepSizes&, int)>>> works{
    {"gpt2",
     [](const StepSizes& s, int rounds) { return bench::decoder_step<B>(s, s.batch, s.length, rounds); }},
    {"gpt2-256", [](const StepSizes& s,
                    int rounds) { return bench::decoder_step<B>(s, s.batch, s.long_length, rounds); }},
    {"t5-small", bench::t5_small_step<B>},
    {"gkd", bench::gkd_step<B>},
    {"minillm", bench::minillm_row<B>},
    {"g2p-teacher-sft",
     [](const StepSizes& s, int rounds) {
       return bench::g2p_step<B>(s, "teacher SFT", recipes::sft(), s.g2p_teacher, false, rounds);
     }},
    {"g2p-student-sft",
     [](const StepSizes& s, int rounds) {
       return bench::g2p_step<B>(s, "student SFT", recipes::sft(), s.g2p_student, false, rounds);
     }},
    {"g2p-supervised-kd",
     [](const StepSizes& s, int rounds) {
       return bench::g2p_step<B>(s, "supervised KD", recipes::supervised_kd(), s.g2p_student, true, rounds);
     }},
    {"g2p-on-policy", [](const StepSizes& s, int rounds) {
       return bench::g2p_step<B>(s, "on-policy KD", recipes::on_policy_kd(), s.g2p_student, true, rounds);
     }}};

/// Times and prints the steps that `names` name; the report for --json.
template <Backend B>
nlohmann::json time_steps(const std::vector<std::string>& names, const StepSizes& sizes, int rounds) {
  const double peak = bench::arithmetic_peak<B>(sizes.floors);
  fmt::print("retort {}, {}\n\n", version, bench::describe_peak<B>(sizes.floors, peak));
  fmt::print("{:<48} {:>9} {:>10} {:>8} {:>12}\n", "work", "seconds", "GFLOP/s", "of peak", "peak memory");
  constexpr int digits = bench::second_digits<B>;
  nlohmann::json out = bench::new_report_on<B>(peak);
  for (const auto& w : names) {
    const auto of_name = [&](const auto& named) { return named.first == w; };
    const StepRow row = std::ranges::find_if(works<B>, of_name)->second(sizes, rounds);
    const double memory = bench::peak_bytes<B>();
    fmt::print("{:<48} {:>9.{}f} {:>10.1f} {:>7.1f}% {:>9.2f} GB\n", row.work, row.seconds, digits,
               row.flops / row.seconds / 1e9, 100 * row.flops / row.seconds / row.peak, memory / 1e9);
    for (const auto& [name, seconds] : row.parts.items())
      fmt::print("    {:<44} {:>9.{}f} {:>18.1f}%\n", name, seconds.template get<double>(), digits,
                 100 * seconds.template get<double>() / row.seconds);
    out["rows"].push_back({{"work", row.work},
                           {"seconds", row.seconds},
                           {"gflops", row.flops / row.seconds / 1e9},
                           {"peak_gflops", row.peak / 1e9},
                           {"share_of_peak", row.flops / row.seconds / row.peak},
                           {"peak_bytes", memory},
                           {"parts", row.parts}});
    Pool<typename B::Device>::instance().trim();
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times training steps at real sizes and prints their share of the device's arithmetic peak.");
  std::vector<std::string> work{"gpt2", "t5-small", "gkd", "minillm"}, names;
  for (const auto& [name, step] : works<Cpu<float>>) names.push_back(name);
  int rounds = 5;
  std::optional<int> batch, length;
  double clip_norm = 0;
  bool tiny = false;
  std::string json_file;
  bench::DeviceFlags device;
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
  bench::add_device_flags(app, device);
  app.add_flag("--tiny", tiny, "toy sizes: whether it works");
  app.add_option("--json", json_file, "also write the figures to this file");
  return support::run_program("step", app, argc, argv, [&] {
    StepSizes sizes = tiny ? bench::tiny_step_sizes() : StepSizes{};
    sizes.batch = batch.value_or(sizes.batch), sizes.length = length.value_or(sizes.length);
    sizes.clip_norm = clip_norm;
    bench::with_backend(device, [&]<class B>(B) {
      bench::write_report("step", json_file, time_steps<B>(work, sizes, rounds));
    });
    return 0;
  });
}
