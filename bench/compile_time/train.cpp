// A program that includes everything and trains something: what a user's file costs to compile.

#include <retort/retort.hpp>

using namespace retort;

int main() {
  using Backend = Cpu<float>;
  const EncoderDecoderConfig sizes{.vocabulary = 16,
                                   .width = 16,
                                   .encoder_layers = 1,
                                   .decoder_layers = 1,
                                   .heads = 2,
                                   .head_width = 8,
                                   .hidden = 32};
  EncoderDecoder<Backend> teacher(sizes, {1}), student(sizes, {2});
  Batch batch;
  for (std::int32_t i = 0; i < 8; ++i)
    batch.push_back(std::vector{2 + i, 3}, std::vector{3, 2 + i, 1}, static_cast<std::uint64_t>(i));
  const auto gkd = recipes::gkd(Jsd{.beta = 0.5}, 0.5);
  auto optimizer = AdamW{.learning_rate = 3e-3}.on(parameters(student));
  for (std::uint64_t step = 0; step < 20; ++step) {
    Tape<Backend> tape;
    Context<Backend> context{.tape = &tape, .training = true, .key = RandomKey{1}.fork(step)};
    const auto loss = gkd.loss(context, student, teacher, batch);
    tape.backward(loss.value);
    optimizer.step({.gradient_scale = clip_by_norm(parameters(student), 1.0).scale});
    fmt::print("{} {:.4f}\n", step, loss.mean);
  }
}
