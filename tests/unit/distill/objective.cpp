// Reductions, the loss's options, and responses without tokens.
#include "retort/distill/objective.hpp"
#include "catch.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;
using Model = EncoderDecoder<D, T5>;

namespace {

struct Run {
  double loss = 0, mean = 0;
  Index tokens = 0;
  std::vector<double> gradient;
};

/// Loss, and gradients to the student's parameters.
template <class O>
Run run(const O& objective, Model& student, const Model& teacher, const Batch& batch,
        const ObjectiveOptions& options = {}) {
  const auto list = parameters(student);
  clear_gradients(list);
  Tape<D> tape;
  Context<D> context{.tape = &tape};
  const auto loss =
      objective_loss(objective, context, student, &teacher, batch, Normaliser::of(batch.responses), options);
  tape.backward(loss.value);
  return {loss.value.item(), loss.mean, loss.tokens, gradients(list)};
}

/// KL(teacher || student) of every response token, from the whole logits.
std::vector<double> forward_kl_of_tokens(const Model& student, const Model& teacher, const Batch& batch,
                                         double temperature = 1) {
  const auto zs = response_logits(student, batch.prompts, batch.responses).to_host();
  const auto zt = response_logits(teacher, batch.prompts, batch.responses).to_host();
  std::vector<double> losses;
  for (std::size_t at = 0; at < zs.size(); at += 11) {
    double ns = 0, nt = 0, sum = 0;
    for (std::size_t v = at; v < at + 11; ++v)
      ns += std::exp(zs[v] / temperature), nt += std::exp(zt[v] / temperature);
    for (std::size_t v = at; v < at + 11; ++v) {
      const double log_p = zt[v] / temperature - std::log(nt), log_q = zs[v] / temperature - std::log(ns);
      sum += std::exp(log_p) * (log_p - log_q);
    }
    losses.push_back(sum);
  }
  return losses;
}

double sum(const std::vector<double>& x, int first, int last) {
  double total = 0;
  for (int i = first; i < last; ++i) total += x[static_cast<std::size_t>(i)];
  return total;
}

Batch three() {  // responses of 2, 1 and 4 tokens
  return numbered(sequences({{3, 4}, {5}, {6, 7, 8}}), sequences({{5, 1}, {1}, {2, 9, 4, 1}}));
}

}  // namespace

TEST_CASE("per_sequence averages within responses, then over them; per_token over all tokens") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  const auto l = forward_kl_of_tokens(student, teacher, three());
  REQUIRE(l.size() == 7);
  const Run sequence = run(ForwardKl{}, student, teacher, three());
  CHECK(sequence.loss == Approx((sum(l, 0, 2) / 2 + l[2] + sum(l, 3, 7) / 4) / 3).epsilon(1e-12));
  const Run token = run(ForwardKl{}, student, teacher, three(), {.reduction = Reduction::per_token});
  CHECK(token.loss == Approx(sum(l, 0, 7) / 7).epsilon(1e-12));
  for (const Run& r : {sequence, token}) {
    CHECK(r.mean == Approx(sum(l, 0, 7) / 7).epsilon(1e-12));
    CHECK(r.tokens == 7);
  }
  CHECK(mean_divergence(ForwardKl{}, student, teacher, three()) == Approx(sum(l, 0, 7) / 7).epsilon(1e-12));
}

TEST_CASE("the cross-entropy is minus the log-probability of the response") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  const Batch batch = three();
  const auto z = response_logits(student, batch.prompts, batch.responses).to_host();
  double total = 0;
  for (std::size_t r = 0; r < 7; ++r) {
    double normaliser = 0;
    for (std::size_t v = 0; v < 11; ++v) normaliser += std::exp(z[11 * r + v]);
    total += std::log(normaliser) - z[11 * r + static_cast<std::size_t>(batch.responses.tokens[r])];
  }
  const Run r = run(CrossEntropy{}, student, teacher, batch, {.reduction = Reduction::per_token});
  CHECK(r.loss == Approx(total / 7).epsilon(1e-12));
  // It knows no temperature, so it is not multiplied by one either.
  const Run hot =
      run(CrossEntropy{}, student, teacher, batch,
          {.reduction = Reduction::per_token, .temperature = 2, .times_temperature_squared = true});
  CHECK(hot.loss == r.loss);
  CHECK(hot.gradient == r.gradient);
}

TEST_CASE("the loss temperature divides both models' logits; its square is a factor only if asked for") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  const auto l = forward_kl_of_tokens(student, teacher, three(), 2);
  ObjectiveOptions options{.reduction = Reduction::per_token, .temperature = 2};
  const Run plain = run(ForwardKl{}, student, teacher, three(), options);
  CHECK(plain.loss == Approx(sum(l, 0, 7) / 7).epsilon(1e-12));
  options.times_temperature_squared = true;
  const Run squared = run(ForwardKl{}, student, teacher, three(), options);
  CHECK(squared.loss == Approx(4 * plain.loss).epsilon(1e-12));
  CHECK(squared.mean == Approx(plain.mean).epsilon(1e-12));
  for (std::size_t i = 0; i < plain.gradient.size(); ++i)
    CHECK(squared.gradient[i] == Approx(4 * plain.gradient[i]).epsilon(1e-10).margin(1e-14));
  options.temperature = 0;
  CHECK_THROWS_AS(run(ForwardKl{}, student, teacher, three(), options), ValueError);
}

TEST_CASE("an objective chosen at run time is the same objective") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  const Run fixed = run(Jsd{0.1}, student, teacher, three());
  const Run chosen = run(as_objective(parse_divergence("jsd(0.1)")), student, teacher, three());
  CHECK(chosen.loss == fixed.loss);
  CHECK(chosen.gradient == fixed.gradient);
  CHECK(run(AnyObjective{CrossEntropy{}}, student, teacher, three()).loss ==
        run(CrossEntropy{}, student, teacher, three()).loss);
}

TEST_CASE("a response without tokens adds nothing, and counts as a sequence") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  Batch batch = three();
  const Run without = run(ReverseKl{}, student, teacher, batch);
  Batch with =
      numbered(sequences({{3, 4}, {9, 9}, {5}, {6, 7, 8}}), sequences({{5, 1}, {}, {1}, {2, 9, 4, 1}}));
  const Run sequence = run(ReverseKl{}, student, teacher, with);
  CHECK(sequence.loss == Approx(without.loss * 3 / 4).epsilon(1e-12));
  CHECK(sequence.mean == Approx(without.mean).epsilon(1e-12));
  const ObjectiveOptions per_token{.reduction = Reduction::per_token};
  const Run a = run(ReverseKl{}, student, teacher, batch, per_token),
            b = run(ReverseKl{}, student, teacher, with, per_token);
  CHECK(b.loss == Approx(a.loss).epsilon(1e-12));
  CHECK(relative_difference(b.gradient, a.gradient) <= 1e-12);
}

TEST_CASE("without any response token the loss is 0 and so are all gradients") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  for (const Batch& batch : {numbered(sequences({{3}, {4, 5}}), sequences({{}, {}})), Batch{}})
    for (const Reduction reduction : {Reduction::per_sequence, Reduction::per_token}) {
      const auto check = [&](const auto& objective) {
        const Run r = run(objective, student, teacher, batch, {.reduction = reduction});
        CHECK(r.loss == 0);
        CHECK(r.mean == 0);
        CHECK(r.tokens == 0);
        CHECK(r.gradient == std::vector<double>(r.gradient.size(), 0.0));
      };
      check(ForwardKl{});
      check(Jsd{});
      check(CrossEntropy{});
      CHECK(mean_divergence(ForwardKl{}, student, teacher, batch) == 0);
    }
}

TEST_CASE("a student whose head is padded learns from a teacher whose head is not, and the other way round") {
  auto config = tiny_t5_config();
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  config.vocabulary = 16;
  auto padded_student = tiny_t5<D>(1, config), padded_teacher = tiny_t5<D>(2, config);
  const auto copy_into_padded = [](Model& from,
                                   Model& to) {  // the first 11 rows of the embedding, all else alike
    const auto a = parameters(from), b = parameters(to);
    for (std::size_t i = 0; i < a.size(); ++i)
      std::copy_n(a[i]->value.data(), a[i]->value.size(), b[i]->value.data());
  };
  copy_into_padded(student, padded_student);
  copy_into_padded(teacher, padded_teacher);
  const Run plain = run(Jsd{}, student, teacher, three());
  const Run wide_teacher = run(Jsd{}, student, padded_teacher, three());
  CHECK(wide_teacher.loss == Approx(plain.loss).epsilon(1e-12));
  CHECK(relative_difference(wide_teacher.gradient, plain.gradient) <= 1e-12);
  const Run wide_student = run(Jsd{}, padded_student, teacher, three());
  CHECK(wide_student.loss == Approx(plain.loss).epsilon(1e-12));
}

TEST_CASE("what cannot be compared is an error") {
  auto student = tiny_t5<D>(1), teacher = tiny_t5<D>(2);
  Context<D> context;
  const Normaliser total = Normaliser::of(three().responses);
  CHECK(message_of<ValueError>([&] {
          (void)objective_loss(Jsd{}, context, student, static_cast<const Model*>(nullptr), three(), total);
        }) == "[objective_loss] a divergence needs a teacher, none was given");
  CHECK(message_of<ValueError>([&] {
          (void)objective_loss(Jsd{.beta = 0}, context, student, &teacher, three(), total);
        }).find("ForwardKl") != std::string::npos);
  CHECK_NOTHROW(
      objective_loss(CrossEntropy{}, context, student, static_cast<const Model*>(nullptr), three(), total));
  const Batch foreign = numbered(sequences({{3}}), sequences({{11}}));
  CHECK_THROWS_AS(objective_loss(CrossEntropy{}, context, student, &teacher, foreign, total), ValueError);
}
