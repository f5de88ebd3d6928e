// Distils a language model of one Hugging Face folder into that of another, or into some of its own layers.

#include "distill/distil.hpp"
#include "distill/flags.hpp"
#include "support/program.hpp"

int main(int argc, char** argv) {
  distill::Settings settings;
  CLI::App app("Distils the language model of a Hugging Face folder into a smaller one.");
  distill::add_flags(app, settings);
  return support::run_program("distill", app, argc, argv, [&] {
    return support::with_backend(settings.device, [&]<class B>(B) { return distill::distil<B>(settings); });
  });
}
