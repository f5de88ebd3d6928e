// Whose responses a step trains on, and that no gradient flows through their sampling.
#include "catch.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;

namespace {

constexpr RandomKey key{8, 9};

/// What a recipe trains on: the data's responses, or samples of one of the models.
template <class Recipe, class Model>
void check_source(Recipe recipe, const Model& student, const Model& teacher, RandomKey step,
                  Source expected) {
  recipe.max_tokens = 7;
  const Batch batch = tiny_batch(8);
  Source source = Source::data;
  const Batch on = recipe.responses(step, student, &teacher, batch, &source);
  CHECK(source == expected);
  CHECK(on.prompts == batch.prompts);
  CHECK(on.ids == batch.ids);
  const auto samples = [&](const Model& model) {
    return generate(model, batch.prompts, batch.ids, recipe.sampler, {.max_tokens = 7, .key = step.fork(1)})
        .responses;
  };
  if (expected == Source::data) CHECK(on.responses == batch.responses);
  if (expected == Source::student) CHECK(on.responses == samples(student));
  if (expected == Source::teacher) CHECK(on.responses == samples(teacher));
}

}  // namespace

TEST_CASE("each recipe trains on the responses of the source that it names") {
  const auto student = tiny_t5<F>(1), teacher = tiny_t5<F>(2);
  int students = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const RandomKey step = key.fork(i);
    const bool by_student = step.fork(0).uniform(0) <= 0.5;
    students += by_student;
    check_source(recipes::sft(), student, teacher, step, Source::data);
    check_source(recipes::supervised_kd(), student, teacher, step, Source::data);
    check_source(recipes::seq_kd(), student, teacher, step, Source::teacher);
    check_source(recipes::on_policy_kd(), student, teacher, step, Source::student);
    check_source(recipes::imit_kd(), student, teacher, step, by_student ? Source::student : Source::data);
    check_source(recipes::f_distill(), student, teacher, step,
                 by_student ? Source::student : Source::teacher);
    check_source(recipes::gkd(ReverseKl{}, 0), student, teacher, step, Source::data);
    check_source(recipes::gkd(ReverseKl{}, 1), student, teacher, step, Source::student);
  }
  CHECK(students > 10);
  CHECK(students < 30);
}

TEST_CASE("no gradient flows through sampling: the samples given as data have the same gradient") {
  auto student = tiny_t5<F>(1);
  const auto teacher = tiny_t5<F>(2);
  const Batch batch = tiny_batch(8);
  for (const double temperature : {1.0, 0.5})
    for (const Reduction reduction : {Reduction::per_token, Reduction::per_sequence}) {
      const ObjectiveOptions options{.reduction = reduction};
      Gkd<ReverseKl, FromStudent> recipe{.sampler = {temperature}, .max_tokens = 7, .options = options};
      const Batch on = recipe.responses(key, student, &teacher, batch);
      CHECK(on.responses != batch.responses);
      const Outcome sampled = step_without_update(recipe, student, teacher, batch, 0, key);
      const Outcome given =
          step_without_update(Gkd<ReverseKl, FromData>{.options = options}, student, teacher, on, 0, key);
      CHECK(sampled.report.source == Source::student);
      CHECK(given.report.source == Source::data);
      CHECK(sampled.report.loss == given.report.loss);
      CHECK(sampled.gradient == given.gradient);
    }
}

TEST_CASE("students sample, and teachers judge, with dropout off; the student is trained with it on") {
  const auto check = [](auto config, auto make) {
    const auto plain_student = make(1, config), plain_teacher = make(2, config);
    config.dropout = 0.4;
    auto student = make(1, config), teacher = make(2, config);
    const Batch batch = tiny_batch(8);
    const Gkd<ForwardKl, FromStudent> recipe{.max_tokens = 7};
    const Batch on = recipe.responses(key, student, &teacher, batch);
    CHECK(on == recipe.responses(key, plain_student, &plain_teacher, batch));

    const auto loss_of = [&](auto& trained, auto& judge, RandomKey with) {
      return step_without_update(recipe, trained, judge, batch, 0, with).report.loss;
    };
    const double loss = loss_of(student, teacher, key);
    CHECK(step_without_update(recipe, student, teacher, batch, 0, key).report.tokens == on.responses.total());
    CHECK(loss_of(student, plain_teacher, key) == loss);
    auto undropped = plain_student;
    CHECK(loss_of(undropped, plain_teacher, key) != loss);
    CHECK(loss_of(student, teacher, key) == loss);
    CHECK(loss_of(student, teacher, {8, 10}) != loss);
  };
  check(tiny_t5_config(), [](std::uint64_t seed, const auto& config) { return tiny_t5<F>(seed, config); });
  check(tiny_decoder_config(),
        [](std::uint64_t seed, const auto& config) { return tiny_decoder<F>(seed, config); });
}

TEST_CASE("log-probabilities from sampling are those of the training forward pass, token by token") {
  const auto check = [](const auto& model) {
    const Batch batch = tiny_batch(30);
    const auto sampled =
        generate(model, batch.prompts, batch.ids, Temperature{1}, {.max_tokens = 12, .key = key});
    // The cross-entropy of a training pass is the negative log-probability, row by row.
    Tape<F> tape;
    Context<F> context{.tape = &tape, .training = true, .key = key};
    const auto hidden = model.hidden(context, batch.prompts, sampled.responses);
    const Index n = sampled.responses.total();
    const auto loss =
        head_cross_entropy(context, model.head(), hidden, IndexTensor<F>::from({n}, sampled.responses.tokens),
                           TensorOf<F>::full({n}, 1));
    std::vector<double> right;
    for (const double l : loss.per_row) right.push_back(-l);
    CHECK(difference(sampled.log_probabilities, right) <= 2e-6);
    for (auto* p : parameters(const_cast<std::remove_cvref_t<decltype(model)>&>(model))) p->clear_grad();
  };
  check(tiny_decoder<F>(3));
  check(tiny_t5<F>(3));
}

TEST_CASE("Gkd::loss is the whole step in one call, with keys of its own for outputs and dropout") {
  auto config = tiny_t5_config();
  config.dropout = 0.3;
  const auto student = tiny_t5<F>(1, config), teacher = tiny_t5<F>(2, config);
  const Batch batch = tiny_batch(6);
  const Gkd recipe{
      .divergence = Jsd{.beta = 0.1}, .outputs = FromStudent{}, .sampler = Temperature{1}, .max_tokens = 7};
  const auto run = [&](bool training) {
    Tape<F> tape;
    Context<F> context{.tape = &tape, .training = training, .key = key};
    const auto loss = recipe.loss(context, student, teacher, batch);
    tape.backward(loss.value);
    return loss.value.item();
  };
  const Batch on = recipe.responses(key.fork(0), student, &teacher, batch);  // the context's first key
  Context<F> silent;
  CHECK(run(false) ==
        objective_loss(recipe.divergence, silent, student, &teacher, on, Normaliser::of(on.responses))
            .value.item());
  CHECK(run(true) == run(true));
  CHECK(run(true) != run(false));
}

TEST_CASE("a recipe that wants what is not there, or has a value outside its range, is an error") {
  const auto student = tiny_t5<F>(1);
  const auto* nobody = static_cast<const EncoderDecoder<F, T5>*>(nullptr);
  const Batch batch = tiny_batch(2);
  CHECK(message_of<ValueError>([&] { (void)recipes::seq_kd().responses(key, student, nobody, batch); }) ==
        "[gkd] the teacher's outputs were asked for, but there is no teacher");
  CHECK(message_of<ValueError>([&] {
          (void)recipes::gkd(Jsd{}, 1.5).responses(key, student, nobody, batch);
        }) == "[mixed] lambda must lie in [0, 1]; given mixed(lambda 1.5)");
  auto hot = recipes::on_policy_kd();
  hot.sampler.value = 0;
  CHECK_THROWS_AS(hot.responses(key, student, nobody, batch), ValueError);
}
