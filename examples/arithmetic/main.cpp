// Word problems with worked solutions: a decoder learns them, a smaller one learns from it by supervised,
// on-policy and sequence-level distillation, MiniLLM and RL + GKD, from the same start and in equally many
// steps.

#include <cstdio>

#include "arithmetic/comparison.hpp"
#include "arithmetic/flags.hpp"
#include "support/program.hpp"
#include "support/stopped.hpp"

using namespace arithmetic;

int main(int argc, char** argv) {
  Settings settings;
  apply_form(settings, support::has_flag(argc, argv, "--quick"), support::has_flag(argc, argv, "--full"));
  CLI::App app("Distils a model of word problems by GKD's recipes, MiniLLM and RL + GKD and compares them.");
  add_flags(app, settings);
  return support::run_program("arithmetic", app, argc, argv, [&] {
    resolve(settings);
    try {
      support::with_backend(settings.device, [&]<class B>(B) { compare<B>(settings); });
      return 0;
    } catch (const support::Stopped&) {
      fmt::print(stderr, "stopped; the same command continues from the checkpoints in {}\n", settings.out);
      return support::exit_stopped;
    }
  });
}
