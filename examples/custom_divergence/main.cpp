// A divergence of one's own, from its formula to a distilled model: the squared Hellinger distance.

#include <string>

#include <retort/retort.hpp>
#if defined(RETORT_HAS_CUDA)
#include <retort/kernels/cuda/runtime.hpp>
#endif

#include "hellinger.hpp"
#include "support/program.hpp"

namespace {

using namespace retort;

// --- Is the gradient right? ----------------------------------------------------------------------------

/// Compares the gradient that `pull` gives with central differences of `term`: random rows of logits, in
/// double. The head is the identity, so that the library's fused op sees just these rows.
GradientCheck check_gradient(Index vocabulary) {
  using B = Cpu<double>;
  constexpr Index rows = 4;
  Parameter<B> identity("identity", {vocabulary, vocabulary});
  init_constant(identity, 0);
  for (Index i = 0; i < vocabulary; ++i) identity.value.data()[i * vocabulary + i] = 1;
  identity.trainable = false;
  const Head<B> head{.weight = &identity};

  TensorOf<B> student({rows, vocabulary}), teacher({rows, vocabulary});  // logits
  kernels::fill_normal(CpuDevice{}, RandomKey{1}, student.size(), 0.0, 1.5, student.data());
  kernels::fill_normal(CpuDevice{}, RandomKey{2}, teacher.size(), 0.0, 1.5, teacher.data());
  const auto weights = TensorOf<B>::from({rows}, {1, 0.5, 0.25, 0.125});
  return check_gradients(
      [&](auto& context, const auto& in) {
        return head_divergence(context, Hellinger{}, head, in[0], head, teacher, weights).value;
      },
      std::vector{student});
}

// --- A task small enough for seconds: write a word backwards -------------------------------------------

template <class B>
using Model = EncoderDecoder<B, T5v11>;

constexpr std::int32_t end_token = 1, first_letter = 2;
constexpr Index vocabulary = 18;  // start, end, a to p

/// Random words of three to five letters and their answers, examples `first` to `first + count - 1`.
Batch words(std::uint64_t first, std::uint64_t count) {
  Batch out;
  for (std::uint64_t i = first; i < first + count; ++i) {
    const RandomKey key = RandomKey{42}.fork(i);
    std::vector<std::int32_t> word(3 + i % 3);
    for (std::size_t t = 0; t < word.size(); ++t)
      word[t] = first_letter + static_cast<std::int32_t>(key.uniform(t) * (vocabulary - first_letter));
    std::vector<std::int32_t> answer(word.rbegin(), word.rend());
    answer.push_back(end_token);
    out.push_back(word, answer, i);
  }
  return out;
}

std::string spelled(std::span<const std::int32_t> tokens) {
  std::string text;
  for (const auto t : tokens)
    if (t >= first_letter) text += static_cast<char>('a' + (t - first_letter));
  return text;
}

EncoderDecoderConfig sizes(Index width, Index layers) {
  return {.vocabulary = vocabulary,
          .width = width,
          .encoder_layers = layers,
          .decoder_layers = layers,
          .heads = 2,
          .head_width = width / 2,
          .hidden = 2 * width,
          .buckets = 16,
          .max_distance = 16};
}

/// Trains by any recipe; recipes that never ask a teacher get the model itself.
template <class Recipe, class Model>
void train(const Recipe& recipe, Model& model, const Model& teacher, const Batch& data, int steps) {
  using B = typename Model::Backend;
  auto optimizer = AdamW{.learning_rate = 5e-3}.on(parameters(model));
  Batches batches(data, {.seed = 1, .batch_size = 64});
  for (int step = 0; step < steps; ++step) {
    Tape<B> tape;
    Context<B> context{
        .tape = &tape, .training = true, .key = RandomKey{1}.fork(static_cast<std::uint64_t>(step))};
    const auto loss = recipe.loss(context, model, teacher, batches.next());
    tape.backward(loss.value);
    const double factor = LinearDecay{.warm_up = 20}.factor(step, steps);
    optimizer.step(
        {.rate_factor = factor, .gradient_scale = clip_by_norm(optimizer.parameters(), 1.0).scale});
  }
}

/// Prints how far the student is from the teacher on words that it has never seen, answered by itself.
template <class Model>
void report(const char* when, const Model& student, const Model& teacher, const Batch& test) {
  const GenerateOptions options{.max_tokens = 8, .end_token = end_token, .key = RandomKey{7}};
  Batch sampled = test;
  sampled.responses = generate(student, test.prompts, test.ids, Temperature{1}, options).responses;
  const auto answers = generate(student, test.prompts, test.ids, Greedy{}, options).responses;
  int right = 0;
  for (int i = 0; i < test.size(); ++i) right += std::ranges::equal(answers[i], test.responses[i]) ? 1 : 0;
  fmt::print("{:<8} Hellinger {:.4f}   reverse KL {:.4f}   right {:4.1f} %   e.g. {} -> {}\n", when,
             mean_divergence(Hellinger{}, student, teacher, sampled),
             mean_divergence(ReverseKl{}, student, teacher, sampled), 100.0 * right / test.size(),
             spelled(test.prompts[0]), spelled(answers[0]));
}

/// Everything on one backend: a number type on a device.
template <class B>
void distill() {
  const Batch data = words(0, 20000), test = words(1000000, 500);
  Model<B> teacher(sizes(64, 2), RandomKey{1}), student(sizes(32, 1), RandomKey{2});
  train(recipes::sft(), teacher, teacher, data, 400);
  train(recipes::sft(), student, teacher, data, 250);

  // On-policy distillation with the new divergence: the student answers, the teacher judges every token of
  // it.
  auto recipe = recipes::gkd(Hellinger{}, 1.0);
  recipe.max_tokens = 8;
  report("before", student, teacher, test);
  train(recipe, student, teacher, data, 350);
  report("after", student, teacher, test);
}

/// Throws DeviceError where this program or this machine has no CUDA device.
void require_cuda() {
#if defined(RETORT_HAS_CUDA)
  cuda::require_device();
#else
  fail<DeviceError>("cuda", "this program was built without RETORT_CUDA");
#endif
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A divergence of one's own: checked, then trained with");
  std::string device = "cpu";
  app.add_option("--device", device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  return support::run_program("custom_divergence", app, argc, argv, [&] {
    if (device == "cuda") require_cuda();
    set_thread_count(1);  // matrices this small gain nothing from a second one
    for (const Index size : {2, 7, 17}) {
      const GradientCheck check = check_gradient(size);
      fmt::print("gradient check, vocabulary {:2}: relative error {:.1e}\n", size, check.relative_error);
      if (check.relative_error > 1e-6) {
        fmt::print("the pull is not the derivative of the term: {}\n", check.worst);
        return 1;
      }
    }
#if defined(RETORT_HAS_CUDA)
    if (device == "cuda") {
      distill<Cuda<float>>();
      return 0;
    }
#endif
    distill<Cpu<float>>();
    return 0;
  });
}
