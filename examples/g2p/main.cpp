// Pronunciation of English words: a teacher learns it from a dictionary, small students learn it from the
// teacher by every recipe of the GKD paper, from the same start and in equally many steps.

#include <cstdio>

#include "g2p/comparison.hpp"
#include "g2p/flags.hpp"
#include "support/program.hpp"
#include "support/stopped.hpp"

using namespace g2p;

int main(int argc, char** argv) {
  Settings settings;
  apply_form(settings, support::has_flag(argc, argv, "--quick"), support::has_flag(argc, argv, "--full"));
  CLI::App app(
      "Distils a spelling-to-pronunciation model by every recipe of the GKD paper and compares them.");
  add_flags(app, settings);
  return support::run_program("g2p", app, argc, argv, [&] {
    try {
      support::with_backend(settings.device, [&]<class B>(B) { compare<B>(settings); });
      return 0;
    } catch (const support::Stopped&) {
      fmt::print(stderr, "stopped; the same command continues from the checkpoints in {}\n", settings.out);
      return support::exit_stopped;
    }
  });
}
