#include "retort/training/step.hpp"

#include <cstring>

#include "catch.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/optim/adamw.hpp"
#include "retort/optim/sgd.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using F = Cpu<float>;
using Model = EncoderDecoder<F, T5>;

namespace {

/// Mean of the reports' `mean` over the first and over the last ten of `steps` steps.
template <class Recipe>
std::pair<double, double> train(const Recipe& recipe, Model& student, const Model& teacher,
                                std::uint64_t steps) {
  auto optimizer = AdamW{.learning_rate = 0.01}.on(parameters(student));
  const Batch batch = tiny_batch(16);
  double first = 0, last = 0;
  for (std::uint64_t step = 0; step < steps; ++step) {
    const StepReport report = training_step(recipe, student, &teacher, optimizer, batch, {1, step});
    if (step < 10) first += report.mean / 10;
    if (step + 10 >= steps) last += report.mean / 10;
  }
  return {first, last};
}

/// The same bits, NaN included.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Parameter<F>& find(Model& model, const std::string& name) {
  for (auto* p : parameters(model))
    if (p->name == name) return *p;
  throw std::out_of_range(name);
}

/// The message of the NumericError that a step throws, "changed" if it changed a weight.
template <class Recipe>
std::string failure(const Recipe& recipe, Model& student, const Model& teacher,
                    const StepOptions& options = {}) {
  auto optimizer = AdamW{}.on(parameters(student));
  const auto before = weights(parameters(student));
  const std::string message = message_of<NumericError>([&] {
    (void)training_step(recipe, student, &teacher, optimizer, tiny_batch(4), {1, 2}, options);
  });
  return same_bits(weights(parameters(student)), before) ? message : "changed";
}

}  // namespace

TEST_CASE("training brings the student to the teacher, on data and on its own samples") {
  const auto teacher = tiny_t5<F>(2);
  auto by_data = tiny_t5<F>(1), by_samples = tiny_t5<F>(1), fine_tuned = tiny_t5<F>(1);
  auto on_policy = recipes::gkd(ReverseKl{}, 1);
  on_policy.max_tokens = 6;
  const auto [a, b] = train(recipes::supervised_kd(), by_data, teacher, 80);
  CHECK(b < 0.3 * a);
  const auto [c, d] = train(on_policy, by_samples, teacher, 80);
  CHECK(d < 0.5 * c);
  const auto [e, f] = train(recipes::sft(), fine_tuned, teacher, 80);
  CHECK(f < 0.5 * e);
}

TEST_CASE("the same key, batch and weights give the same step, in report and in every weight") {
  auto config = tiny_t5_config();
  config.dropout = 0.2;
  const auto teacher = tiny_t5<F>(2, config);
  const auto run = [&](std::uint64_t last_key) {
    auto student = tiny_t5<F>(1, config);
    auto optimizer = AdamW{}.on(parameters(student));
    auto recipe = recipes::imit_kd();
    recipe.max_tokens = 6;
    double loss = 0;
    for (const std::uint64_t step : {1ul, 2ul, 3ul, static_cast<unsigned long>(last_key)})
      loss += training_step(recipe, student, &teacher, optimizer, tiny_batch(5), {1, step}).loss;
    return std::pair{loss, weights(parameters(student))};
  };
  CHECK(run(4) == run(4));
  CHECK(run(4) != run(5));
}

TEST_CASE("the gradient's norm is reported, and clipped for the update") {
  const auto teacher = tiny_t5<F>(2);
  const auto moved = [&](double clip_norm, double rate_factor) {
    auto student = tiny_t5<F>(1);
    auto optimizer = Sgd{.learning_rate = 1}.on(parameters(student));
    const auto before = weights(parameters(student));
    const auto report = training_step(recipes::supervised_kd(), student, &teacher, optimizer, tiny_batch(5),
                                      {1, 1}, {.clip_norm = clip_norm, .rate_factor = rate_factor});
    const auto after = weights(parameters(student));
    double square = 0;
    for (std::size_t i = 0; i < after.size(); ++i) square += std::pow(after[i] - before[i], 2);
    return std::pair{report.gradient_norm, std::sqrt(square)};
  };
  const auto [norm, whole] = moved(std::numeric_limits<double>::infinity(), 1);
  CHECK(norm > 0.1);
  CHECK(whole == Approx(norm).epsilon(1e-5));
  CHECK(moved(norm / 2, 1).first == norm);
  CHECK(moved(norm / 2, 1).second == Approx(norm / 2).epsilon(1e-5));
  CHECK(moved(2 * norm, 1).second == Approx(norm).epsilon(1e-5));
  CHECK(moved(norm / 2, 0.1).second == Approx(norm / 20).epsilon(1e-4));
}

TEST_CASE("a batch without a response token changes nothing") {
  const auto teacher = tiny_t5<F>(2);
  auto student = tiny_t5<F>(1);
  auto optimizer = AdamW{.weight_decay = 0.1}.on(parameters(student));
  const auto before = weights(parameters(student));
  for (const Batch& batch : {numbered(sequences({{3}, {4}}), sequences({{}, {}})), Batch{}}) {
    const StepReport report =
        training_step(recipes::supervised_kd(), student, &teacher, optimizer, batch, {1, 1});
    CHECK(report.loss == 0);
    CHECK(report.mean == 0);
    CHECK(report.tokens == 0);
    CHECK(report.gradient_norm == 0);
    CHECK(weights(parameters(student)) == before);
  }
}

TEST_CASE("NaN in a weight stops the step, names op and parameter, and leaves all weights as they are") {
  const auto teacher = tiny_t5<F>(2);
  for (const std::string name : {"encoder.block.1.attention.qkv.weight",
                                 "decoder.block.0.cross.output.weight", "decoder.block.2.ff.down.weight"}) {
    auto student = tiny_t5<F>(1);
    find(student, name).value.data()[5] = std::nanf("");
    const std::string message = "[linear] the first value that is not finite came out of this op";
    CHECK(failure(recipes::supervised_kd(), student, teacher).find(message) == 0);
    CHECK(failure(recipes::sft(), student, teacher).find("; the parameter used last was " + name) !=
          std::string::npos);
    // On-policy it is the sampling that fails first, on the student's logits.
    CHECK(failure(recipes::on_policy_kd(), student, teacher).find("; the parameter used last was " + name) !=
          std::string::npos);
    CHECK(failure(recipes::supervised_kd(), student, teacher, {.micro_batch = 1}).find(name) !=
          std::string::npos);
  }
}

TEST_CASE("NaN in the teacher stops the step and names the teacher's op, its parameters frozen or not") {
  auto student = tiny_t5<F>(1);
  for (const bool trainable : {true, false})
    for (const auto& [name, op] : {std::pair<std::string, std::string>{"decoder.norm.gain", "rms_norm"},
                                   {"encoder.block.0.ff.up.weight", "linear"},
                                   {"decoder.block.1.cross.output.weight", "linear"}}) {
      auto teacher = tiny_t5<F>(2);
      for (auto* p : parameters(teacher)) p->trainable = trainable;
      find(teacher, name).value.data()[0] = std::nanf("");
      // With seq_kd it is the sampling that fails first, on the teacher's logits.
      for (const std::string& message :
           {failure(recipes::supervised_kd(), student, teacher),
            failure(recipes::supervised_kd(), student, teacher, {.micro_batch = 1}),
            failure(recipes::seq_kd(), student, teacher)}) {
        CAPTURE(message);
        CHECK(message.starts_with("[" + op + "] the first value that is not finite came out of this op"));
        CHECK(message.ends_with("; the parameter used last was " + name + ", in the teacher"));
      }
    }

  auto config = tiny_t5_config();
  config.tied_head = false;
  auto teacher = tiny_t5<F>(2, config);
  find(teacher, "head.weight").value.data()[0] = std::nanf("");
  CHECK(failure(recipes::supervised_kd(), student, teacher) ==
        "[training_step] the teacher's head head.weight has a value that is not finite");
}

TEST_CASE("infinity in the gradient stops the step too") {
  // All logits are 0 and the loss is finite, but the gain's gradient is not.
  auto steep = tiny_t5<F>(1);
  for (float& w : find(steep, "decoder.norm.gain").value.span()) w = 0;
  for (float& w : find(steep, "shared.weight").value.span()) w *= 3e37f;
  CHECK(failure(recipes::supervised_kd(), steep, tiny_t5<F>(2)) ==
        "[gradient_norm] the gradient of decoder.norm.gain, shape (12), has a value that is not finite");
}

TEST_CASE("after a step that failed training goes on from the weights it left") {
  const auto teacher = tiny_t5<F>(2);
  auto student = tiny_t5<F>(1), untroubled = tiny_t5<F>(1);
  auto optimizer = AdamW{}.on(parameters(student)), reference = AdamW{}.on(parameters(untroubled));
  float& weight = find(student, "decoder.block.1.ff.up.weight").value.data()[3];
  const float good = weight;
  weight = std::nanf("");
  const auto step = [&](Model& model, auto& by) {
    return training_step(recipes::supervised_kd(), model, &teacher, by, tiny_batch(5), {1, 1},
                         {.micro_batch = 2});
  };
  CHECK_THROWS_AS(step(student, optimizer), NumericError);
  weight = good;
  CHECK(step(student, optimizer).loss == step(untroubled, reference).loss);
  CHECK(weights(parameters(student)) == weights(parameters(untroubled)));
}

TEST_CASE("a gradient that overflows behind a finite loss names the op") {
  Parameter<F> x("x", {1});
  x.value = TensorOf<F>::full({1}, 1e-38f);
  auto optimizer = Sgd{}.on(ParameterList<F>{&x});
  const auto loss_of = [&](Context<F>& context, int, int) {
    struct Value {
      Variable<F> value;
    };
    // x 1e60 in steps that a float can hold; the gradient 1e60 is more than it can
    return Value{sum(scale(scale(scale(context.use(x), 1), 1e30), 1e30))};
  };
  const auto run = [&] {
    return detail::step_gradients("step", optimizer, 1, {1, 2}, {}, loss_of, [](const auto&, int, int) {});
  };
  CHECK(message_of<NumericError>(run) ==
        "[scale] the gradient of this op's output, shape (1), is not finite");
  x.value = TensorOf<F>::full({1}, 0.f);
  CHECK(message_of<NumericError>(run).starts_with("[scale] the gradient of this op's output"));
}
