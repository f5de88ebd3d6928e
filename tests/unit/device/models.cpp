#include <map>

#include "retort/models/decoder_families.hpp"
#include "retort/optim/adafactor.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"
#include "retort/training/minillm_step.hpp"
#include "retort/training/step.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// A recipe's loss and gradients on a batch.
template <class Model, class Divergence>
std::pair<double, std::vector<double>> loss_and_gradients(Model& student, const Model& teacher,
                                                          const Divergence& divergence, const Batch& batch,
                                                          bool training = true) {
  using B = typename Model::Backend;
  clear_gradients(parameters(student));
  Tape<B> tape;
  Context<B> context{.tape = &tape, .training = training, .key = {3, 4}};
  const auto loss = objective_loss(divergence, context, student, &teacher, batch,
                                   Normaliser::of(batch.responses), {.chunk_rows = 5});
  tape.backward(loss.value);
  return {loss.mean, gradients(parameters(student))};
}

/// Models of both backends with the same weights, which T can hold.
template <class T, template <class> class Make>
struct Pair {
  typename Make<D>::type cpu_student = Make<D>::make(1), cpu_teacher = Make<D>::make(2);
  typename Make<Cuda<T>>::type student = Make<Cuda<T>>::make(1), teacher = Make<Cuda<T>>::make(2);

  Pair() {
    round_weights<T>(cpu_student);
    round_weights<T>(cpu_teacher);
    copy_weights(cpu_student, student);
    copy_weights(cpu_teacher, teacher);
  }
};

template <class B>
struct MakeGpt2 {
  using type = Decoder<B>;
  static type make(std::uint64_t seed) {
    auto config = tiny_decoder_config();
    config.dropout = config.attention_dropout = 0.1;
    return type(config, {seed, 1});
  }
};
template <class B>
struct MakeLlama {
  using type = Decoder<B, Llama>;
  static type make(std::uint64_t seed) {
    auto config = tiny_decoder_config();
    config.heads = 4, config.kv_heads = 2, config.head_width = 4;
    return type(config, {seed, 1});
  }
};
template <class B>
struct MakeGptJ {
  using type = Decoder<B, GptJ>;
  static type make(std::uint64_t seed) {
    auto config = tiny_decoder_config();
    config.rotary.width = 2;
    return type(config, {seed, 1});
  }
};
template <class B>
struct MakeT5 {
  using type = EncoderDecoder<B, T5>;
  static type make(std::uint64_t seed) { return type(tiny_t5_config(), {seed, 2}); }
};
template <class B>
struct MakeT511 {
  using type = EncoderDecoder<B, T5v11>;
  static type make(std::uint64_t seed) { return type(tiny_t5_config(), {seed, 2}); }
};

/// Losses and gradients on the device are those of the CPU in double. Gradients are sums over layers of
/// rounded numbers; the bound in bf16 is for each of them relative to the largest.
template <class T, template <class> class Make>
void check_model() {
  Pair<T, Make> models;
  const Batch batch = tiny_batch(6);
  const double tolerance = sizeof(T) == 4 ? 1e-5 : 6e-2;
  const auto compare = [&](const auto& divergence) {
    const auto [want, want_gradient] =
        loss_and_gradients(models.cpu_student, models.cpu_teacher, divergence, batch);
    const auto [got, got_gradient] = loss_and_gradients(models.student, models.teacher, divergence, batch);
    INFO(divergence.name);
    CHECK(std::abs(got - want) <= (sizeof(T) == 4 ? 1e-5 : 2e-2) * std::abs(want));
    CHECK(relative_difference(got_gradient, want_gradient) <= tolerance);
    const auto [again, again_gradient] =
        loss_and_gradients(models.student, models.teacher, divergence, batch);
    CHECK(again == got);
    CHECK((again_gradient == got_gradient));
  };
  compare(Jsd{0.3});
  compare(CrossEntropy{});
}

}  // namespace

TEST_CASE("losses and gradients of whole models equal the CPU's in double") {
  RETORT_NEED_DEVICE();
  SECTION("GPT-2, with dropout") {
    check_model<float, MakeGpt2>();
  }
  SECTION("LLaMA, grouped queries") {
    check_model<float, MakeLlama>();
  }
  SECTION("GPT-J") {
    check_model<float, MakeGptJ>();
  }
  SECTION("T5") {
    check_model<float, MakeT5>();
  }
  SECTION("T5 v1.1") {
    check_model<float, MakeT511>();
  }
}

TEST_CASE("losses and gradients of whole models in bf16") {
  RETORT_NEED_DEVICE();
  SECTION("GPT-2, with dropout") {
    check_model<bf16, MakeGpt2>();
  }
  SECTION("LLaMA, grouped queries") {
    check_model<bf16, MakeLlama>();
  }
  SECTION("T5") {
    check_model<bf16, MakeT5>();
  }
}

TEST_CASE("products in TF32 are those of float to three digits") {
  RETORT_NEED_DEVICE();
  Pair<float, MakeGpt2> models;
  auto student = MakeGpt2<CudaTf32>::make(1);
  const auto teacher = MakeGpt2<CudaTf32>::make(2);
  const Batch batch = tiny_batch(6);
  const auto [want, want_gradient] = loss_and_gradients(models.student, models.teacher, Jsd{0.3}, batch);
  const auto [got, got_gradient] = loss_and_gradients(student, teacher, Jsd{0.3}, batch);
  CHECK(std::abs(got - want) <= 5e-3 * want);
  CHECK(relative_difference(got_gradient, want_gradient) <= 5e-3);
  CHECK(relative_difference(got_gradient, want_gradient) >
        1e-5);  // they are another policy, not another name
}

TEST_CASE("every divergence from the device's rows") {
  RETORT_NEED_DEVICE();
  Pair<float, MakeGpt2> models;
  const Batch batch = tiny_batch(4);
  const auto check = [&](const auto& d) {
    INFO(d.name);
    const auto [want, want_gradient] =
        loss_and_gradients(models.cpu_student, models.cpu_teacher, d, batch, false);
    const auto [got, got_gradient] = loss_and_gradients(models.student, models.teacher, d, batch, false);
    CHECK(std::abs(got - want) <= 1e-5 * std::abs(want));
    CHECK(relative_difference(got_gradient, want_gradient) <= 1e-5);
  };
  check(ForwardKl{}), check(ReverseKl{}), check(NormalisedJsd{0.2}), check(TotalVariation{});
  check(SkewForwardKl{0.1}), check(SkewReverseKl{0.1}), check(SymmetricKl{});
}

TEST_CASE("samples on the device are the CPU's") {
  RETORT_NEED_DEVICE();
  const auto check = [](auto& models) {
    const Batch batch = tiny_batch(7);
    const GenerateOptions options{.max_tokens = 8, .end_token = 1, .key = {8, 9}};
    const auto same = [&](const auto& sampler) {
      const auto want = generate(models.cpu_student, batch.prompts, batch.ids, sampler, options);
      const auto got = generate(models.student, batch.prompts, batch.ids, sampler, options);
      CHECK(got.responses == want.responses);
      CHECK(got.finished == want.finished);
      CHECK(difference(got.log_probabilities, want.log_probabilities) <= 1e-5);
      CHECK(difference(got.log_draws, want.log_draws) <= 1e-5);
    };
    same(Greedy{});
    same(Temperature{1});
    same(Temperature{0.7});
    same(TopK{3});
    same(TopP{0.8});
    same(Filters{Temperature{1.3}, TopK{6}, TopP{0.7}});
  };
  SECTION("GPT-2") {
    Pair<float, MakeGpt2> models;
    check(models);
  }
  SECTION("LLaMA") {
    Pair<float, MakeLlama> models;
    check(models);
  }
  SECTION("T5") {
    Pair<float, MakeT5> models;
    check(models);
  }
}

TEST_CASE("steps of GKD on the student's samples, by every optimizer, are the CPU's") {
  RETORT_NEED_DEVICE();
  const auto check = [](const auto& policy) {
    Pair<float, MakeGpt2> models;
    auto on_cpu = policy.on(parameters(models.cpu_student));
    auto on_device = policy.on(parameters(models.student));
    auto recipe = recipes::gkd(Jsd{0.5}, 1);
    recipe.max_tokens = 6;
    const Batch batch = tiny_batch(5);
    for (std::uint64_t step = 0; step < 3; ++step) {
      INFO(policy.name << ", step " << step);
      const auto want =
          training_step(recipe, models.cpu_student, &models.cpu_teacher, on_cpu, batch, {7, step});
      const auto got = training_step(recipe, models.student, &models.teacher, on_device, batch, {7, step});
      CHECK(got.tokens == want.tokens);
      CHECK(got.mean == Approx(want.mean).epsilon(1e-4));
      CHECK(got.gradient_norm == Approx(want.gradient_norm).epsilon(1e-4));
    }
    CHECK(relative_difference(weights(parameters(models.student)), weights(parameters(models.cpu_student))) <=
          1e-4);
  };
  check(Sgd{.learning_rate = 0.01});
  check(Sgd{.learning_rate = 0.01, .momentum = 0.9, .nesterov = true});
  // The gradient of the keys' biases is 0 but for rounding; these epsilons keep that from becoming a step.
  check(AdamW{.learning_rate = 1e-3, .epsilon = 1e-4});
  check(Adafactor{.epsilon1 = 1e-8});
}

TEST_CASE("a model in bf16 is trained by weights in float") {
  RETORT_NEED_DEVICE();
  Pair<bf16, MakeGpt2> models;
  auto optimizer = AdamW{.learning_rate = 1e-4}.on(parameters(models.student));
  const auto before = numbers(parameters(models.student)[0]->value);
  for (std::uint64_t step = 0; step < 4; ++step)
    training_step(recipes::sft(), models.student, &models.teacher, optimizer, tiny_batch(5), {7, step});
  std::map<std::string, std::vector<double>> state;
  optimizer.each_state([&](const std::string& name, const auto& t) { state[name] = numbers(t); });
  const auto& master = state.at("token.weight.master");
  const auto after = numbers(parameters(models.student)[0]->value);
  REQUIRE(master.size() == after.size());
  std::size_t small = 0;
  for (std::size_t i = 0; i < master.size(); ++i) {
    CHECK(static_cast<double>(static_cast<float>(bf16(static_cast<float>(master[i])))) == after[i]);
    small += master[i] != before[i] && after[i] == before[i] ? 1 : 0;
  }
  CHECK(small > 0);  // steps below bf16's digits are not lost
}

TEST_CASE("an update of MiniLLM is the CPU's") {
  RETORT_NEED_DEVICE();
  Pair<float, MakeGpt2> models;
  MiniLlm<> how = minillm::reference();
  how.max_tokens = 6;
  const Batch batch = tiny_batch(6), corpus = tiny_batch(5, 3);
  const auto update = [&](auto& student, auto& teacher) {
    auto optimizer = AdamW{.learning_rate = 1e-3, .epsilon = 1e-4}.on(parameters(student));
    const auto rollouts = roll_out(student, teacher, batch, TeacherMixed<>{.alpha = 0.3},
                                   {.max_tokens = 6, .end_token = 1, .key = {5, 6}});
    return std::pair{rollouts.samples.responses, minillm_step(how, student, teacher, optimizer, rollouts,
                                                              &corpus, {3, 4}, {.micro_batch = 4})};
  };
  const auto [want_samples, want] = update(models.cpu_student, models.cpu_teacher);
  const auto [samples, got] = update(models.student, models.teacher);
  CHECK(samples == want_samples);
  CHECK(got.loss == Approx(want.loss).epsilon(1e-4));
  CHECK(got.gradient_norm == Approx(want.gradient_norm).epsilon(1e-4));
  CHECK(got.audit.forward_kl == Approx(want.audit.forward_kl).epsilon(1e-5));
  CHECK(got.audit.k3 == Approx(want.audit.k3).epsilon(1e-4));
  CHECK(relative_difference(weights(parameters(models.student)), weights(parameters(models.cpu_student))) <=
        1e-4);
}

TEST_CASE("an index outside its table is reported at the next result, and breaks nothing") {
  RETORT_NEED_DEVICE();
  const auto table = Variable<Cuda<float>>(TensorOf<Cuda<float>>::zeros({5, 3}));
  const std::vector<std::int32_t> wrong{1, 7, 2};
  const auto y = take_rows(table, IndexTensor<Cuda<float>>::from({3}, wrong));
  CHECK(message_of<ShapeError>([&] { (void)y.value().to_host(); }) ==
        "[take_rows] index 7 is outside [0, 5)");
  CHECK(y.value().to_host() == std::vector<float>(9, 0.0f));
}
