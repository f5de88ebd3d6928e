#include "retort/ops/head_loss.hpp"

#include <limits>

#include "catch.hpp"
#include "plain_kl.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/linear.hpp"
#include "retort/ops/rows.hpp"
#include "retort/ops/softmax.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using Vs = std::vector<V>;
using C = Context<Double>;
using P = Parameter<Double>;

namespace {

constexpr Index rows = 7, width = 5, vocabulary = 11, teacher_width = 3;

/// A student and a teacher head with their hidden states, row weights and targets.
struct Setting {
  P weight = normal_parameter("head.weight", {vocabulary, width}, 1);
  P bias = normal_parameter("head.bias", {vocabulary}, 2);
  P teacher_weight = normal_parameter("teacher.weight", {vocabulary, teacher_width}, 3);
  TensorOf<Double> hidden = normal_tensor({rows, width}, 4);
  TensorOf<Double> teacher_hidden = normal_tensor({rows, teacher_width}, 5);
  TensorOf<Double> weights = TensorOf<Double>::from({rows}, {1, 0.5, 0, 2, -0.25, 1, 0.125});
  IndexTensor<Double> targets = index_tensor(indices(rows, vocabulary, 6));
  bool divergence = true;  ///< head_divergence, else head_cross_entropy
  HeadLossOptions options{.temperature = 1.5};

  Head<Double> student() const { return {&weight, &bias, 0.8}; }
  Head<Double> teacher() const { return {&teacher_weight, nullptr, 1.3}; }
  double temperature() const { return divergence ? options.temperature : 1; }

  HeadLoss<Double> fused(const C& context, const V& h) const {
    if (divergence)
      return head_divergence(context, StudentToTeacher{}, student(), h, teacher(), teacher_hidden, weights,
                             options);
    return head_cross_entropy(context, student(), h, targets, weights, options);
  }

  /// The definition, of plain ops: sum(weights * loss of each row).
  V plain(const C& context, const V& h) const {
    const V b = context.use(bias);
    const V logits = linear(scale(h, 0.8), context.use(weight), &b);  // (rows, vocabulary)
    const V log_q = log_softmax(scale(logits, 1 / temperature()));
    TensorOf<Double> by_element({rows, vocabulary});  // weight of its row, one-hot for the cross-entropy
    for (Index i = 0; i < by_element.size(); ++i) {
      const Index r = i / vocabulary;
      const bool counts = divergence || targets.data()[r] == i % vocabulary;
      by_element.data()[i] = counts ? weights.data()[r] : 0;
    }
    if (!divergence) return scale(sum(multiply(V(by_element), log_q)), -1);
    const V teacher_logits = linear(scale(V(teacher_hidden), 1.3), V(teacher_weight.value));
    const V log_p = log_softmax(scale(teacher_logits, 1 / temperature()));
    const V q = softmax(scale(logits, 1 / temperature()));
    return sum(multiply(V(by_element), multiply(q, subtract(log_q, log_p))));
  }

  void clear() const {
    weight.clear_grad();
    bias.clear_grad();
  }
};

/// Value, and gradients to hidden states, head weight and bias, of a loss whose upstream gradient is
/// `upstream`.
std::vector<double> numbers(const Setting& s, bool fused, double upstream, bool of_hidden = true) {
  s.clear();
  Tape<Double> tape;
  const C context{.tape = &tape};
  const V h = of_hidden ? tape.leaf(s.hidden) : V(s.hidden);
  const V loss = fused ? s.fused(context, h).value : s.plain(context, h);
  tape.backward(loss, upstream);
  std::vector<double> all = values(loss.value());
  for (const auto& part : {s.weight.grad, s.bias.grad, of_hidden ? tape.gradient(h) : TensorOf<Double>{}})
    for (const double x : values(part)) all.push_back(x);
  return all;
}

}  // namespace

TEST_CASE(
    "the fused head losses equal their compositions: value, gradients of hidden states, weight and bias") {
  Setting s;
  for (const bool divergence : {true, false})
    for (const Index chunk : {1, 2, 3, 7, 0})
      for (const double upstream : {1., 0.25, -3., 0.}) {
        CAPTURE(divergence, chunk, upstream);
        s.divergence = divergence;
        s.options.chunk_rows = chunk;
        CHECK(difference(numbers(s, true, upstream), numbers(s, false, upstream)) <= 1e-13);
        CHECK(difference(numbers(s, true, upstream, false), numbers(s, false, upstream, false)) <= 1e-13);
      }
}

TEST_CASE("the size of the chunks changes nothing") {
  Setting s;
  const auto whole = numbers(s, true, 1);
  for (const Index chunk : {1, 2, 3, 5, 100}) {
    s.options.chunk_rows = chunk;
    CHECK(difference(numbers(s, true, 1), whole) <= 1e-14);
  }
  s.options.chunk_rows = 0;
  s.options.chunk_bytes = 1;  // no less than 16 rows a chunk
  CHECK(difference(numbers(s, true, 1), whole) == 0);
}

TEST_CASE("gradients of the fused head losses against central differences, also with an upstream gradient") {
  for (const bool divergence : {true, false}) {
    Setting s;
    s.divergence = divergence;
    s.options.chunk_rows = 3;
    const auto of_hidden =
        check_gradients([&](C& c, Vs& v) { return scale(s.fused(c, v[0]).value, 0.3); }, {s.hidden});
    INFO(of_hidden.worst);
    CHECK(of_hidden.relative_error <= 1e-6);
    auto hidden = normal_parameter("hidden", {rows, width}, 4);
    const auto of_parameters = check_parameter_gradients<Double>(
        [&](C& c) { return s.fused(c, c.use(hidden)).value; }, {&s.weight, &s.bias, &hidden}, 100);
    INFO(of_parameters.worst);
    CHECK(of_parameters.relative_error <= 1e-6);
  }
}

TEST_CASE("a tied weight, used as embedding in the same tape, gets both gradients in either order of use") {
  const Setting s;
  const auto ids = index_tensor(indices(rows, vocabulary, 8));
  const auto run = [&](bool fused) {
    s.clear();
    Tape<Double> tape;
    const C context{.tape = &tape};
    const V h = embedding(context.use(s.weight), ids);
    const V loss = fused ? s.fused(context, h).value : s.plain(context, h);
    const V late = scale(sum(multiply(context.use(s.weight), context.use(s.weight))), 0.1);
    tape.backward(scale(add(loss, late), 0.5));
    return values(s.weight.grad);
  };
  CHECK(difference(run(true), run(false)) <= 1e-13);
}

TEST_CASE("gradients of two fused losses, and of two passes, add up") {
  const Setting s;
  const auto once = numbers(s, true, 1);
  s.clear();
  Tape<Double> tape;
  const C context{.tape = &tape};
  const V h = tape.leaf(s.hidden);
  tape.backward(add(s.fused(context, h).value, scale(s.fused(context, h).value, 2)));
  std::vector<double> three{3 * once[0]};
  const auto now = [&] {
    std::vector<double> all;
    for (const auto& part : {s.weight.grad, s.bias.grad})
      for (const double x : values(part)) all.push_back(x);
    return all;
  };
  std::vector<double> expected(once.begin() + 1, once.begin() + 1 + vocabulary * (width + 1));
  for (double& x : expected) x *= 3;
  CHECK(difference(now(), expected) <= 1e-13);
  tape.backward(s.fused(context, tape.leaf(s.hidden)).value);
  for (double& x : expected) x *= 4. / 3;
  CHECK(difference(now(), expected) <= 1e-13);
}

TEST_CASE("frozen heads: the hidden states still get their gradient, the head gets none") {
  Setting s;
  const auto full = numbers(s, true, 0.5);
  s.weight.trainable = s.bias.trainable = false;
  s.weight.grad = s.bias.grad = {};
  const auto frozen = numbers(s, true, 0.5);
  CHECK_FALSE(s.weight.has_grad);
  CHECK_FALSE(s.bias.has_grad);
  const auto count = static_cast<std::ptrdiff_t>(rows * width);
  CHECK(std::equal(full.end() - count, full.end(), frozen.end() - count));
  // and one whose bias alone is trained
  s.bias.trainable = true;
  (void)numbers(s, true, 0.5, false);
  CHECK_FALSE(s.weight.has_grad);
  const auto db = values(s.bias.grad);
  CHECK(std::equal(db.begin(), db.end(), full.begin() + 1 + vocabulary * width,
                   [](double a, double b) { return std::abs(a - b) <= 1e-14; }));
}

TEST_CASE(
    "per_row holds the unweighted losses, the value their weighted sum; nothing is recorded without a tape") {
  for (const bool divergence : {true, false}) {
    Setting s;
    s.divergence = divergence;
    const auto loss = s.fused(C{}, V(s.hidden));
    CHECK_FALSE(loss.value.requires_grad());
    CHECK_FALSE(s.weight.has_grad);
    double total = 0;
    for (std::size_t r = 0; r < rows; ++r) total += values(s.weights)[r] * loss.per_row[r];
    CHECK(loss.value.item() == Approx(total).epsilon(1e-14));
    CHECK(loss.per_row[2] == 0);  // weight 0: not computed
    CHECK(loss.per_row[4] > 0);
    Tape<Double> tape;
    CHECK(s.fused(C{.tape = &tape}, tape.leaf(s.hidden)).per_row == loss.per_row);
  }
}

TEST_CASE("no rows, or rows of weight 0 alone, give loss 0 and zero gradients, not NaN") {
  Setting s;
  s.weights = TensorOf<Double>::zeros({rows});
  for (const bool divergence : {true, false}) {
    s.divergence = divergence;
    for (const double x : numbers(s, true, 2)) CHECK(x == 0);
  }
  s.hidden = TensorOf<Double>({0, width});
  s.teacher_hidden = TensorOf<Double>({0, teacher_width});
  s.weights = TensorOf<Double>({0});
  s.targets = index_tensor({});
  s.weight.grad = s.bias.grad = {};
  for (const bool divergence : {true, false}) {
    s.divergence = divergence;
    CHECK(numbers(s, true, 2) == std::vector<double>{0});
    CHECK(s.weight.open_losses == 0);
  }
}

TEST_CASE("NaN hidden states of either model are a NaN loss") {
  for (const bool of_teacher : {false, true}) {
    Setting s;
    (of_teacher ? s.teacher_hidden : s.hidden).data()[0] = std::numeric_limits<double>::quiet_NaN();
    CHECK(std::isnan(s.fused(C{}, V(s.hidden)).value.item()));
    (of_teacher ? s.teacher_hidden : s.hidden).data()[0] = 0;
    CHECK(std::isfinite(s.fused(C{}, V(s.hidden)).value.item()));
  }
}

TEST_CASE("vocabularies of different padded length: entries that one side lacks have probability 0") {
  Setting s;
  const auto shorter = [&](Index n) {
    P w("shorter", {n, teacher_width});
    w.value = s.teacher_weight.value.slice(0, n).clone();
    return w;
  };
  // A teacher with two more entries: as if it had never had them.
  P longer("longer", {vocabulary + 2, teacher_width});
  longer.value = normal_tensor({vocabulary + 2, teacher_width}, 9);
  std::copy_n(std::as_const(s.teacher_weight.value).data(), vocabulary * teacher_width, longer.value.data());
  const auto loss = [&](const P& teacher_weight) {
    return head_divergence(C{}, StudentToTeacher{}, s.student(), V(s.hidden),
                           Head<Double>{&teacher_weight, nullptr, 1.3}, s.teacher_hidden, s.weights,
                           s.options)
        .value.item();
  };
  CHECK(loss(longer) == Approx(loss(s.teacher_weight)).epsilon(1e-14));
  // A teacher with two fewer: the student's last two take no part and no gradient.
  const auto two_fewer = shorter(vocabulary - 2);
  Tape<Double> tape;
  const V h = tape.leaf(s.hidden);
  tape.backward(head_divergence(C{.tape = &tape}, StudentToTeacher{}, s.student(), h,
                                Head<Double>{&two_fewer, nullptr, 1.3}, s.teacher_hidden, s.weights,
                                s.options)
                    .value);
  const auto db = values(s.bias.grad);
  CHECK(db[vocabulary - 1] == 0);
  CHECK(db[vocabulary - 2] == 0);
  CHECK(db[0] != 0);
}

TEST_CASE("clearing the head's gradient between the loss and backward is an error, not a lost gradient") {
  const Setting s;
  Tape<Double> tape;
  const V loss = s.fused(C{.tape = &tape}, tape.leaf(s.hidden)).value;
  CHECK(s.weight.open_losses == 1);
  s.clear();
  CHECK(message_of<ValueError>([&] { tape.backward(loss); }) ==
        "[head_divergence] the gradient of head.weight was cleared between the loss and backward()");
}

TEST_CASE("hidden states of a finished pass or another tape are refused") {
  const Setting s;
  Tape<Double> tape, other;
  const V h = tape.leaf(s.hidden);
  CHECK_THROWS_AS(s.fused(C{.tape = &other}, h), ValueError);
  tape.backward(sum(h));
  CHECK_THROWS_AS(s.fused(C{.tape = &tape}, h), ValueError);
  CHECK_FALSE(s.weight.has_grad);
}

TEST_CASE("the fused head losses keep the memory of a chunk, not of all logits") {
  const Index n = 2000, v = 500;
  const auto weight = normal_parameter("w", {v, 4}, 1);
  const auto hidden = normal_tensor({n, 4}, 2);
  const auto ones = TensorOf<Double>::full({n}, 1);
  auto& pool = Pool<CpuDevice>::instance();
  const std::size_t before = bytes_in_use();
  pool.reset_peak();
  Tape<Double> tape;
  const auto loss =
      head_divergence(C{.tape = &tape}, StudentToTeacher{}, Head<Double>{&weight}, tape.leaf(hidden),
                      Head<Double>{&weight}, hidden, ones, {.chunk_rows = 100});
  const std::size_t logits = static_cast<std::size_t>(n * v) * 8, chunk = logits / 20;
  CHECK(pool.statistics().peak_in_use - before < 3 * chunk);
  CHECK(bytes_in_use() - before < chunk);  // no logits wait for backward
  tape.backward(loss.value, 0.5);
  CHECK(pool.statistics().peak_in_use - before < 3 * chunk);
  CHECK(loss.value.item() == Approx(0).margin(1e-10));  // a model is 0 away from itself
}

TEST_CASE("the fused head losses refuse what does not fit, with the shapes") {
  const Setting s;
  const auto zeros = [](const Shape& shape) { return V(TensorOf<Double>::zeros(shape)); };
  const auto said = [](auto f) { return message_of<Error>(f); };
  const C context;
  CHECK(said([&] {
          (void)head_cross_entropy(context, s.student(), zeros({rows, 4}), s.targets, s.weights);
        }) ==
        "[head_cross_entropy] hidden states (7, 4) and head weight (11, 5): expected (rows, width), "
        "(vocabulary, width)");
  CHECK(said([&] {
          (void)head_cross_entropy(context, s.student(), V(s.hidden), index_tensor({1}), s.weights);
        }) == "[head_cross_entropy] targets has shape (1), expected (7)");
  CHECK(said([&] {
          (void)head_cross_entropy(context, s.student(), V(s.hidden), index_tensor({0, 1, 2, 3, 4, 5, 11}),
                                   s.weights);
        }) == "[head_cross_entropy] target 11 is outside [0, 11)");
  const auto diverge = [&](const TensorOf<Double>& teacher_hidden, const TensorOf<Double>& weights,
                           HeadLossOptions o) {
    return said([&] {
      (void)head_divergence(context, StudentToTeacher{}, s.student(), V(s.hidden), s.teacher(),
                            teacher_hidden, weights, o);
    });
  };
  CHECK(diverge(s.teacher_hidden, TensorOf<Double>::zeros({3}), {}) ==
        "[head_divergence] row weights has shape (3), expected (7)");
  CHECK(diverge(TensorOf<Double>::zeros({rows, 4}), s.weights, {}) ==
        "[head_divergence] teacher's hidden states (7, 4) for a head of width 3 and 7 student rows");
  CHECK(diverge(TensorOf<Double>::zeros({6, teacher_width}), s.weights, {}) ==
        "[head_divergence] teacher's hidden states (6, 3) for a head of width 3 and 7 student rows");
  CHECK(diverge(s.teacher_hidden, s.weights, {.temperature = 0}) ==
        "[head_divergence] temperature 0, expected > 0");
}
