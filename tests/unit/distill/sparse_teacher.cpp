// Losses from a teacher's most probable tokens: golden values (docs/formulas.md), bounds, whole models.
#include "retort/distill/sparse_teacher.hpp"

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "support.hpp"
#include "tiny_models.hpp"

using namespace retort;
using namespace retort::test;
using D = Cpu<double>;

namespace {

/// The rows of the outcomes: the tokens of K and the sum of the others.
Row outcomes(const Row& p, const std::vector<std::int32_t>& known) {
  Row out;
  Real80 others = 0;
  for (const auto id : known) out.push_back(p[static_cast<std::size_t>(id)]);
  for (std::size_t v = 0; v < p.size(); ++v)
    if (std::ranges::find(known, static_cast<std::int32_t>(v)) == known.end()) others += p[v];
  out.push_back(others);
  return out;
}

/// head_sparse_divergence with a head that is the identity, and the teacher's numbers from long double.
template <class T, class Div>
Outcome sparse(const Div& divergence, const std::vector<double>& student, const std::vector<double>& teacher,
               const std::vector<std::int32_t>& known, double temperature = 1) {
  using B = Cpu<T>;
  const auto n = static_cast<Index>(student.size()), k = static_cast<Index>(known.size());
  Parameter<B> eye("head", {n, n});
  eye.value = TensorOf<B>::zeros({n, n});
  for (Index i = 0; i < n; ++i) eye.value.data()[i * n + i] = 1;
  eye.trainable = false;
  std::vector<T> log_p;
  for (const Real80 p : outcomes(softmax(teacher, temperature, teacher.size()), known))
    log_p.push_back(static_cast<T>(std::log(p)));
  const SparseTeacherRows<B> rows{
      IndexTensor<B>::from({1, k}, known), TensorOf<B>::from({1, k}, std::span(log_p).first(known.size())),
      TensorOf<B>::full({1}, log_p.back()), static_cast<Index>(teacher.size()), temperature};
  Tape<B> tape;
  const Variable<B> logits =
      tape.leaf(TensorOf<B>::from({1, n}, std::vector<T>(student.begin(), student.end())));
  const auto loss =
      head_sparse_divergence(Context<B>{.tape = &tape}, divergence, Head<B>{.weight = &eye}, logits, rows,
                             TensorOf<B>::full({1}, T(1)), {.temperature = temperature});
  tape.backward(loss.value);
  const auto gradient = tape.gradient(logits).to_host();
  return {loss.per_row[0], {gradient.begin(), gradient.end()}};
}

/// Its definition; the gradient by central differences.
template <class Div>
Outcome sparse_by_definition(const Div& divergence, const std::vector<double>& student,
                             const std::vector<double>& teacher, const std::vector<std::int32_t>& known,
                             double temperature = 1) {
  const Row p = outcomes(softmax(teacher, temperature, teacher.size()), known);
  Row z(student.begin(), student.end());
  const auto at = [&] {
    return expected(divergence, p, outcomes(softmax(z, temperature, teacher.size()), known));
  };
  Outcome out{static_cast<double>(at()), {}};
  for (Real80& x : z) {
    const Real80 was = x, h = 1e-5L;
    x = was + h;
    const Real80 high = at();
    x = was - h;
    out.gradient.push_back(static_cast<double>((high - at()) / (2 * h)));
    x = was;
  }
  return out;
}

/// The k largest logits' places.
std::vector<std::int32_t> largest(const std::vector<double>& z, std::size_t k) {
  std::vector<std::int32_t> order(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  std::ranges::sort(order, [&](auto a, auto b) { return z[std::size_t(a)] > z[std::size_t(b)]; });
  order.resize(k);
  return order;
}

}  // namespace

TEST_CASE("golden values of a sparse teacher, every digit in double and 1e-6 in float") {
  const std::vector<double> student{1, 0, -1, 0.5, 0.25}, teacher{0, 1, 0.5, -2, 0.75};
  const auto check = [&](const auto& divergence, double value, const std::vector<double>& gradient) {
    INFO(summary(divergence));
    const Outcome exact = sparse<double>(divergence, student, teacher, {1, 4});
    const Outcome single = sparse<float>(divergence, student, teacher, {1, 4});
    constexpr double half_a_digit = 0.5e-9 + 1e-14;
    CHECK(std::abs(exact.value - value) <= half_a_digit);
    CHECK(std::abs(single.value - value) <= 1e-6);
    REQUIRE(exact.gradient.size() == 5);
    for (std::size_t v = 0; v < 5; ++v) {
      CAPTURE(v);
      CHECK(std::abs(exact.gradient[v] - gradient[v]) <= half_a_digit);
      CHECK(std::abs(single.gradient[v] - gradient[v]) <= 1e-6);
    }
  };
  check(ForwardKl{}, 0.219560375, {0.177508583, -0.214288569, 0.024023174, 0.107664398, -0.094907587});
  check(ReverseKl{}, 0.206379944, {0.157526020, -0.160181335, 0.021318829, 0.095544361, -0.114207875});
  check(Jsd{0.5}, 0.052014031, {0.040042578, -0.043759059, 0.005419174, 0.024287051, -0.025989744});
  CHECK(std::abs(by_library<double>(ForwardKl{}, student, teacher).value - 0.562531227) <= 0.5e-9);
  CHECK(std::abs(by_library<double>(ReverseKl{}, student, teacher).value - 0.744044294) <= 0.5e-9);
  CHECK(std::abs(by_library<double>(Jsd{0.5}, student, teacher).value - 0.143990063) <= 0.5e-9);
}

TEST_CASE("every sparse divergence and its gradient equal the definition on random logits") {
  each_divergence([](const auto& divergence) {
    for (const std::size_t vocabulary : {2, 7, 33})
      for (const std::size_t k : {1, 3, 20})
        for (const double temperature : {1.0, 2.0}) {
          if (k >= vocabulary) continue;
          INFO(summary(divergence) << ", " << k << " of " << vocabulary << ", temperature " << temperature);
          const auto n = static_cast<Index>(vocabulary);
          auto student = normals<double>(n, 1, 2);
          const auto teacher = normals<double>(n, 2, 2);
          student.push_back(3);  // padding that the teacher lacks
          const auto known = largest(teacher, k);
          const Outcome right = sparse_by_definition(divergence, student, teacher, known, temperature);
          const Outcome exact = sparse<double>(divergence, student, teacher, known, temperature);
          const Outcome single = sparse<float>(divergence, student, teacher, known, temperature);
          CHECK(difference(std::vector{exact.value}, std::vector{right.value}) <= 1e-8);
          CHECK(difference(exact.gradient, right.gradient) <= 1e-8);
          CHECK(difference(std::vector{single.value}, std::vector{right.value}) <= 3e-6);
          CHECK(difference(single.gradient, right.gradient) <= 3e-6);
        }
  });
}

TEST_CASE("0 <= sparse D <= full D, growing with k, for every divergence") {
  each_divergence([](const auto& divergence) {
    INFO(summary(divergence));
    for (std::uint64_t row = 0; row < 10; ++row)
      for (const double apart : {2.0, 0.3, 1e-3}) {
        const auto teacher = normals<double>(30, 2 * row, 3);
        auto student = teacher;
        const auto noise = normals<double>(30, 2 * row + 1, apart);
        for (std::size_t v = 0; v < student.size(); ++v) student[v] += noise[v];
        const double full = by_library<double>(divergence, student, teacher).value;
        double before = 0;
        for (const std::size_t k : {1, 2, 3, 10, 29}) {
          CAPTURE(row, apart, k);
          const auto known = largest(teacher, k);
          const double value = sparse<double>(divergence, student, teacher, known).value;
          CHECK(value >= 0);
          const double rounding = 1e-15;      // of p - q: the probabilities are rounded to 1e-16
          CHECK(value >= before - rounding);  // a finer partition
          CHECK(value <= full + rounding);
          const double single = sparse<float>(divergence, student, teacher, known).value;
          CHECK(single >= 0);
          CHECK(single <= full + 1e-6);
          before = value;
        }
      }
  });
}

namespace {

struct Run {
  double loss = 0, mean = 0;
  Index tokens = 0;
  std::vector<double> gradient;
};

template <class Model, class F>
Run run(Model& student, F&& loss_of) {
  const auto list = parameters(student);
  clear_gradients(list);
  Tape<D> tape;
  Context<D> context{.tape = &tape};
  const Loss<D> loss = loss_of(context);
  tape.backward(loss.value);
  return {loss.value.item(), loss.mean, loss.tokens, gradients(list)};
}

Batch batch_with_an_empty_response() {
  Batch batch = tiny_batch(5);
  batch.push_back(Ids{3, 4}, Ids{}, 5);
  return batch;
}

template <class Model>
void check_model(Model student, Model teacher) {
  const Batch batch = batch_with_an_empty_response();
  const Normaliser total = Normaliser::of(batch.responses);
  const auto all = sparse_targets(teacher, batch, 11), few = sparse_targets(teacher, batch, 3);
  all.check(), few.check();

  for (const Reduction reduction : {Reduction::per_sequence, Reduction::per_token}) {
    const ObjectiveOptions options{.reduction = reduction, .chunk_rows = 4};
    const auto full = run(student, [&](auto& c) {
      return objective_loss(Jsd{0.3}, c, student, &teacher, batch, total, options);
    });
    const auto whole =
        run(student, [&](auto& c) { return sparse_loss(Jsd{0.3}, c, student, batch, all, total, options); });
    CHECK(whole.loss == Approx(full.loss).epsilon(1e-12));
    CHECK(whole.mean == Approx(full.mean).epsilon(1e-12));
    CHECK(whole.tokens == full.tokens);
    CHECK(relative_difference(whole.gradient, full.gradient) <= 1e-11);
  }
  CHECK(mean_sparse_divergence(ForwardKl{}, student, batch, few) <
        mean_divergence(ForwardKl{}, student, teacher, batch));
  CHECK(mean_sparse_divergence(ForwardKl{}, student, batch, few) > 0);

  const GradientCheck check = check_parameter_gradients<D>(
      [&](Context<D>& c) {
        return sparse_loss(ReverseKl{}, c, student, batch, few, total, {.chunk_rows = 3}).value;
      },
      parameters(student), 8);
  INFO(check.worst);
  CHECK(check.relative_error <= 1e-6);
}

}  // namespace

TEST_CASE("a decoder learns from all tokens of a sparse teacher as from the teacher, and from some") {
  check_model(tiny_decoder<D>(1), tiny_decoder<D>(2));
}

TEST_CASE(
    "an encoder-decoder learns from all tokens of a sparse teacher as from the teacher, and from some") {
  check_model(tiny_t5<D>(1), tiny_t5<D>(2));
}

TEST_CASE("targets are the teacher's first k probabilities at each response token, at a temperature") {
  const auto teacher = tiny_t5<D>(2);
  const Batch batch = batch_with_an_empty_response();
  const auto z = response_logits(teacher, batch.prompts, batch.responses).to_host();
  for (const Index chunk : {0, 1, 3}) {
    const auto targets =
        sparse_targets(teacher, batch, 4, {.temperature = 2, .vocabulary = 9, .chunk_rows = chunk});
    CHECK(targets.offsets == batch.responses.offsets);
    CHECK(targets.temperature == 2);
    CHECK(targets.vocabulary == 9);
    for (std::size_t r = 0; r < std::size_t(batch.responses.total()); ++r) {
      const std::vector<double> row(z.begin() + 11 * Index(r), z.begin() + 11 * Index(r) + 9);
      const auto known = largest(row, 4);
      const Row p = outcomes(softmax(row, 2, 9), known);
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(targets.ids[4 * r + i] == known[i]);
        CHECK(targets.log_p[4 * r + i] == Approx(double(std::log(p[i]))).epsilon(1e-12));
      }
      CHECK(targets.log_tail[r] == Approx(double(std::log(p[4]))).epsilon(1e-12));
    }
  }
}

TEST_CASE("micro-batches of a batch and of its targets give the gradient of the whole") {
  auto student = tiny_decoder<D>(1);
  const auto teacher = tiny_decoder<D>(2);
  const Batch batch = batch_with_an_empty_response();
  const Normaliser total = Normaliser::of(batch.responses);
  const auto targets = sparse_targets(teacher, batch, 3);
  const auto whole =
      run(student, [&](auto& c) { return sparse_loss(ForwardKl{}, c, student, batch, targets, total); });
  clear_gradients(parameters(student));
  double loss = 0;
  for (const auto& [first, last] : {std::pair{0, 2}, {2, 5}, {5, 6}}) {  // the last without a token
    Tape<D> tape;
    Context<D> context{.tape = &tape};
    const auto part = sparse_loss(ForwardKl{}, context, student, batch.slice(first, last),
                                  targets.slice(first, last), total);
    tape.backward(part.value);
    loss += part.value.item();
  }
  CHECK(loss == Approx(whole.loss).epsilon(1e-12));
  CHECK(relative_difference(gradients(parameters(student)), whole.gradient) <= 1e-12);
}

TEST_CASE("responses without a token have sparse loss 0 and zero gradients") {
  auto student = tiny_t5<D>(1);
  const Batch empty = numbered(sequences({{3}, {4, 5}}), sequences({{}, {}}));
  const auto targets = sparse_targets(tiny_t5<D>(2), empty, 2);
  const auto r = run(student, [&](auto& c) {
    return sparse_loss(Jsd{}, c, student, empty, targets, Normaliser::of(empty.responses));
  });
  CHECK(r.loss == 0);
  CHECK(r.tokens == 0);
  CHECK(r.gradient == std::vector<double>(r.gradient.size(), 0.0));
}

TEST_CASE("an objective chosen at run time, the cross-entropy too, and the square of the temperature") {
  auto student = tiny_t5<D>(1);
  const auto teacher = tiny_t5<D>(2);
  const Batch batch = tiny_batch(4);
  const Normaliser total = Normaliser::of(batch.responses);
  const auto targets = sparse_targets(teacher, batch, 3, {.temperature = 2});
  const auto loss = [&](const auto& objective, const ObjectiveOptions& options) {
    Context<D> c;
    return sparse_loss(objective, c, student, batch, targets, total, options).value.item();
  };
  ObjectiveOptions hot{.temperature = 2};
  const double plain = loss(SkewReverseKl{}, hot);
  CHECK(loss(AnyObjective{SkewReverseKl{}}, hot) == plain);
  hot.times_temperature_squared = true;
  CHECK(loss(SkewReverseKl{}, hot) == Approx(4 * plain).epsilon(1e-13));
  Context<D> c;
  CHECK(loss(AnyObjective{CrossEntropy{}}, {}) ==
        objective_loss(CrossEntropy{}, c, student, &teacher, batch, total).value.item());
}

TEST_CASE("targets that do not belong to the batch, the loss or the student are refused") {
  auto student = tiny_t5<D>(1);
  const auto teacher = tiny_t5<D>(2);
  const Batch batch = batch_with_an_empty_response();
  const auto targets = sparse_targets(teacher, batch, 3);
  const auto said = [&](const SparseTargets& given, const ObjectiveOptions& options = {}) {
    return message_of<ValueError>([&] {
      Context<D> c;
      (void)sparse_loss(ForwardKl{}, c, student, batch, given, Normaliser::of(batch.responses), options);
    });
  };
  CHECK(said(targets) == "no error");
  CHECK(said(targets.slice(0, 5)) == "[sparse_loss] targets of 5 responses for a batch of 6");
  CHECK(said(targets.select(std::vector{0, 1, 2, 3, 5, 4})) ==
        fmt::format("[sparse_loss] targets of 0 tokens for example 4, whose response has {}",
                    batch.responses.length(4)));
  CHECK_THAT(said(targets, {.temperature = 2}),
             Catch::Matchers::Contains("the loss has temperature 2, the teacher's probabilities 1"));
  auto renormalised = targets;  // the tail dropped: neither bound holds
  renormalised.log_tail.assign(renormalised.log_tail.size(), -HUGE_VAL);
  CHECK_THAT(said(renormalised), Catch::Matchers::Contains("add up to"));
  auto wide = tiny_t5_config();
  wide.vocabulary = 16;
  CHECK_THAT(
      said(sparse_targets(tiny_t5<D>(2, wide), batch, 3)),
      Catch::Matchers::Contains("the student's head has 11 tokens, the teacher's probabilities are of 16"));
  CHECK(said(sparse_targets(tiny_t5<D>(2, wide), batch, 3, {.vocabulary = 11})) == "no error");
  CHECK(message_of<ValueError>([&] {
          Context<D> c;
          (void)sparse_loss(Jsd{.beta = 0}, c, student, batch, targets, Normaliser::of(batch.responses));
        }).find("ForwardKl") != std::string::npos);
}

TEST_CASE("targets cannot be made of too many tokens, nor of logits that are no numbers") {
  auto teacher = tiny_t5<D>(2);
  const Batch batch = numbered(sequences({{3}, {4}}), sequences({{5, 1}, {6, 7, 1}}));
  const auto said = [&](Index k, const SparseTargetsOptions& options = {}) {
    return message_of<Error>([&] { (void)sparse_targets(teacher, batch, k, options); });
  };
  CHECK(said(11) == "no error");
  const std::string who = "[sparse_targets] ", expected = "expected 1 <= k <= vocabulary <= 11";
  CHECK(said(12) == who + "k 12 of a vocabulary of 11, " + expected);
  CHECK(said(0) == who + "k 0 of a vocabulary of 11, " + expected);
  CHECK(said(3, {.vocabulary = 12}) == who + "k 3 of a vocabulary of 12, " + expected);
  CHECK(said(3, {.temperature = 0}) == who + "temperature 0, expected > 0");
  for (auto* p : parameters(teacher))
    if (p->name == "shared.weight")
      for (Index i = 0; i < 12; ++i) p->value.data()[7 * 12 + i] = std::nan("");  // the row of token 7
  CHECK_THAT(said(3),
             Catch::Matchers::Contains("the teacher's logits are not finite at token 0 of example 0"));
}
