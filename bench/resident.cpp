// Does memory grow? Resident size over a thousand training steps with batches of changing lengths.

#include <CLI/CLI.hpp>

#include "retort/distill/gkd.hpp"
#include "retort/models/encoder_decoder.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/training/step.hpp"
#include "support/machine.hpp"
#include "support/program.hpp"

int main(int argc, char** argv) {
  using namespace retort;
  using B = Cpu<float>;
  CLI::App app(
      "Prints resident memory after training steps of an on-policy distillation with ragged batches.");
  Index steps = 1000;
  app.add_option("--steps", steps, "training steps")->capture_default_str()->check(CLI::Range(11, 10000000));
  return support::run_program("resident", app, argc, argv, [&] {
    const EncoderDecoderConfig sizes{.vocabulary = 80,
                                     .width = 48,
                                     .encoder_layers = 2,
                                     .decoder_layers = 1,
                                     .heads = 4,
                                     .head_width = 12,
                                     .hidden = 96};
    EncoderDecoder<B> teacher(sizes, {1}), student(sizes, {2});
    auto optimizer = AdamW{}.on(parameters(student));
    const Gkd<Jsd, Mixed> recipe{.max_tokens = 20};
    const RandomKey key{5};
    double after_10 = 0;
    std::uint64_t allocations_10 = 0;
    for (Index s = 1; s <= steps; ++s) {
      Batch batch;
      for (std::uint64_t i = 0; i < 64; ++i) {
        const auto words = key.fork(static_cast<std::uint64_t>(s)).block(i);
        batch.push_back(std::vector<std::int32_t>(1 + words[0] % 20, 5),
                        std::vector<std::int32_t>(1 + words[1] % 20, 7), i);
      }
      (void)training_step(recipe, student, &teacher, optimizer, batch,
                          key.fork(static_cast<std::uint64_t>(s)));
      const auto pool = Pool<CpuDevice>::instance().statistics();
      if (s == 10) after_10 = bench::resident_bytes(), allocations_10 = pool.system_allocations;
      if (s == 1 || s == 10 || s == 100 || s == steps)
        fmt::print(
            "step {:>6}: resident {:.2f} MB, pool {:.2f} MB in use at most, {} blocks from the system\n", s,
            bench::resident_bytes() / 1e6, static_cast<double>(pool.peak_in_use) / 1e6,
            pool.system_allocations);
    }
    fmt::print("after {} steps / after 10: {:.4f}; {} blocks from the system since\n", steps,
               bench::resident_bytes() / after_10,
               Pool<CpuDevice>::instance().statistics().system_allocations - allocations_10);
    return 0;
  });
}
