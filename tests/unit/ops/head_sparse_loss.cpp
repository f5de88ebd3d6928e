#include "retort/ops/head_sparse_loss.hpp"

#include "catch.hpp"
#include "plain_kl.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/linear.hpp"
#include "retort/ops/softmax.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using Vs = std::vector<V>;
using C = Context<Double>;
using P = Parameter<Double>;

namespace {

constexpr Index rows = 7, width = 5, vocabulary = 11, k = 3;

/// A student's head with hidden states, and a teacher's three tokens a row.
struct Setting {
  P weight = normal_parameter("head.weight", {vocabulary, width}, 1);
  P bias = normal_parameter("head.bias", {vocabulary}, 2);
  TensorOf<Double> hidden = normal_tensor({rows, width}, 4);
  TensorOf<Double> weights = TensorOf<Double>::from({rows}, {1, 0.5, 0, 2, -0.25, 1, 0.125});
  SparseTeacherRows<Double> teacher;
  HeadLossOptions options{.temperature = 1.5};

  Setting() {
    std::vector<std::int32_t> ids;
    std::vector<double> log_p, log_tail;
    const auto z = normals<double>(rows * (k + 1), 5);
    for (std::size_t r = 0; r < rows; ++r) {
      double total = 0;
      for (std::size_t i = 0; i <= k; ++i) total += std::exp(z[r * (k + 1) + i]);
      for (std::size_t i = 0; i < k; ++i) {
        ids.push_back(static_cast<std::int32_t>((4 * i + 3 * r) % vocabulary));
        log_p.push_back(z[r * (k + 1) + i] - std::log(total));
      }
      log_tail.push_back(z[r * (k + 1) + k] - std::log(total));
    }
    teacher = {IndexTensor<Double>::from({rows, k}, ids), TensorOf<Double>::from({rows, k}, log_p),
               TensorOf<Double>::from({rows}, log_tail), vocabulary, 1.5};
  }

  Head<Double> student() const { return {&weight, &bias, 0.8}; }

  V fused(const C& context, const V& h) const {
    return head_sparse_divergence(context, StudentToTeacher{}, student(), h, teacher, weights, options).value;
  }

  /// The definition, of plain ops: the softmax times a matrix that adds up each row's outcomes.
  V plain(const C& context, const V& h) const {
    const V b = context.use(bias);
    const V q = softmax(scale(linear(scale(h, 0.8), context.use(weight), &b), 1 / 1.5));
    V total;
    for (Index r = 0; r < rows; ++r) {
      TensorOf<Double> outcomes = TensorOf<Double>::zeros({k + 1, vocabulary});  // 1: the token is of it
      for (Index v = 0; v < vocabulary; ++v) {
        Index of = k;
        for (Index i = 0; i < k; ++i)
          if (teacher.ids.data()[r * k + i] == v) of = i;
        outcomes.data()[of * vocabulary + v] = 1;
      }
      TensorOf<Double> of_row = TensorOf<Double>::zeros({rows, k + 1}), minus_log_p({rows, k + 1});
      for (Index i = 0; i <= k; ++i) {
        of_row.data()[r * (k + 1) + i] = weights.data()[r];
        for (Index s = 0; s < rows; ++s)
          minus_log_p.data()[s * (k + 1) + i] =
              -(i < k ? teacher.log_p.data()[r * k + i] : teacher.log_tail.data()[r]);
      }
      const V bucketed = linear(q, V(outcomes));      // (rows, k + 1)
      const V log_q = log_softmax(log_of(bucketed));  // it sums to 1 already
      const V kl = multiply(bucketed, add(log_q, V(minus_log_p)));
      const V part = sum(multiply(V(of_row), kl));
      total = r == 0 ? part : add(total, part);
    }
    return total;
  }

  /// log x as an op of its own.
  static V log_of(const V& x) {
    TensorOf<Double> y(x.shape());
    for (Index i = 0; i < y.size(); ++i) y.data()[i] = std::log(x.value().data()[i]);
    return record(
        "log", y,
        [x](const TensorOf<Double>& dy) {
          TensorOf<Double> dx(dy.shape());
          for (Index i = 0; i < dx.size(); ++i) dx.data()[i] = dy.data()[i] / x.value().data()[i];
          pass_gradient(x, dx);
        },
        x);
  }
};

/// Value, and gradients to hidden states, head weight and bias.
std::vector<double> numbers(const Setting& s, bool fused, double upstream) {
  s.weight.clear_grad();
  s.bias.clear_grad();
  Tape<Double> tape;
  const C context{.tape = &tape};
  const V h = tape.leaf(s.hidden);
  const V loss = fused ? s.fused(context, h) : s.plain(context, h);
  tape.backward(loss, upstream);
  std::vector<double> all = values(loss.value());
  for (const auto& part : {s.weight.grad, s.bias.grad, tape.gradient(h)})
    for (const double x : values(part)) all.push_back(x);
  return all;
}

}  // namespace

TEST_CASE("the fused sparse loss equals its composition: value and all gradients, in chunks of any size") {
  Setting s;
  for (const Index chunk : {1, 2, 3, 7, 0})
    for (const double upstream : {1., -3.}) {
      CAPTURE(chunk, upstream);
      s.options.chunk_rows = chunk;
      CHECK(difference(numbers(s, true, upstream), numbers(s, false, upstream)) <= 1e-13);
    }
}

TEST_CASE("gradients of the fused sparse loss against central differences, also with an upstream gradient") {
  Setting s;
  s.options.chunk_rows = 3;
  const auto of_hidden =
      check_gradients([&](C& c, Vs& v) { return scale(s.fused(c, v[0]), 0.3); }, {s.hidden});
  INFO(of_hidden.worst);
  CHECK(of_hidden.relative_error <= 1e-6);
  auto hidden = normal_parameter("hidden", {rows, width}, 4);
  const auto of_parameters = check_parameter_gradients<Double>(
      [&](C& c) { return s.fused(c, c.use(hidden)); }, {&s.weight, &s.bias, &hidden}, 100);
  INFO(of_parameters.worst);
  CHECK(of_parameters.relative_error <= 1e-6);
}

TEST_CASE("the fused sparse loss keeps the memory of a chunk, not of all logits") {
  const Index n = 2000, v = 500;
  const auto weight = normal_parameter("w", {v, 4}, 1);
  const auto hidden = normal_tensor({n, 4}, 2);
  const auto ones = TensorOf<Double>::full({n}, 1);
  const SparseTeacherRows<Double> teacher{IndexTensor<Double>::zeros({n, 1}),
                                          TensorOf<Double>::full({n, 1}, std::log(0.25)),
                                          TensorOf<Double>::full({n}, std::log(0.75)), v};
  auto& pool = Pool<CpuDevice>::instance();
  const std::size_t before = bytes_in_use();
  pool.reset_peak();
  Tape<Double> tape;
  const auto loss = head_sparse_divergence(C{.tape = &tape}, StudentToTeacher{}, Head<Double>{&weight},
                                           tape.leaf(hidden), teacher, ones, {.chunk_rows = 100});
  const std::size_t logits = static_cast<std::size_t>(n * v) * 8, chunk = logits / 20;
  CHECK(pool.statistics().peak_in_use - before < 3 * chunk);
  tape.backward(loss.value, 0.5);
  CHECK(pool.statistics().peak_in_use - before < 3 * chunk);
}

TEST_CASE("no rows give loss 0 and zero gradients") {
  Setting s;
  s.hidden = TensorOf<Double>({0, width});
  s.weights = TensorOf<Double>({0});
  s.teacher.ids = IndexTensor<Double>({0, k});
  s.teacher.log_p = TensorOf<Double>({0, k});
  s.teacher.log_tail = TensorOf<Double>({0});
  CHECK(numbers(s, true, 2) == std::vector<double>{0});
}

TEST_CASE("the fused sparse loss refuses what does not fit, with the shapes") {
  const auto said = [](auto change) {
    Setting s;
    change(s);
    return message_of<Error>([&] { (void)s.fused(C{}, V(s.hidden)); });
  };
  using S = Setting;
  const std::string op = "[head_sparse_divergence] ";
  CHECK(said([](S&) {}) == "no error");
  CHECK(said([](S& s) {
          s.hidden = TensorOf<Double>::zeros({6, width});
        }) == op + "teacher's tokens (7, 3) for 6 student rows, expected (6, k)");
  CHECK(said([](S& s) {
          s.teacher.log_p = TensorOf<Double>::zeros({rows, 2});
        }) == op + "teacher's log-probabilities has shape (7, 2), expected (7, 3)");
  CHECK(said([](S& s) { s.teacher.log_tail = TensorOf<Double>::zeros({6}); }) ==
        op + "teacher's tails has shape (6), expected (7)");
  CHECK(said([](S& s) { s.weights = TensorOf<Double>::zeros({3}); }) ==
        op + "row weights has shape (3), expected (7)");
  CHECK(said([](S& s) { s.teacher.ids.data()[20] = 11; }) == op + "teacher's token 11 is outside [0, 11)");
  CHECK(said([](S& s) { s.teacher.ids.data()[20] = -1; }) == op + "teacher's token -1 is outside [0, 11)");
  CHECK(said([](S& s) { s.teacher.ids.data()[4] = s.teacher.ids.data()[3]; }) ==
        op + "the teacher's tokens of row 1 have 3 twice");
  CHECK(said([](S& s) { s.teacher.vocabulary = 12; }) ==
        op + "the student's head has 11 tokens, the teacher's probabilities are of 12: make them over the "
             "tokens that both have");
  CHECK(said([](S& s) { s.teacher.vocabulary = 2; }) ==
        op + "3 teacher's tokens a row of a vocabulary of 2, expected 1 or more");
  CHECK(said([](S& s) { s.options.temperature = 1; }) ==
        op + "the loss has temperature 1, the teacher's probabilities 1.5: those at another temperature "
             "cannot be had from them");
}
