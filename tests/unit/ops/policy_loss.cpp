#include "retort/ops/policy_loss.hpp"

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/distill/divergences.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/linear.hpp"
#include "retort/ops/softmax.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using C = Context<Double>;
using P = Parameter<Double>;

namespace {

constexpr Index rows = 7, width = 5, vocabulary = 11, teacher_vocabulary = 9, teacher_width = 3;

/// A student's and a teacher's head with hidden states, row weights and sampled tokens. The student's
/// vocabulary is the larger one: its last two tokens are sampled, too.
struct Setting {
  P weight = normal_parameter("head.weight", {vocabulary, width}, 1);
  P bias = normal_parameter("head.bias", {vocabulary}, 2);
  P teacher_weight = normal_parameter("teacher.weight", {teacher_vocabulary, teacher_width}, 3);
  TensorOf<Double> hidden = normal_tensor({rows, width}, 4);
  TensorOf<Double> teacher_hidden = normal_tensor({rows, teacher_width}, 5);
  TensorOf<Double> weights = TensorOf<Double>::from({rows}, {1, 0.5, 0, 2, -0.25, 1, 0.125});
  TensorOf<Double> factors = TensorOf<Double>::from({rows}, {1, 0, 0.3, 2, 0, 0.5, -1});
  std::vector<double> slopes{0.7, -1.1, 2, 0, 0, 0.3, 1.9};
  IndexTensor<Double> tokens = index_tensor({3, 10, 0, 5, 9, 1, 10});
  HeadLossOptions options{.temperature = 1.5};

  Head<Double> student() const { return {&weight, &bias, 0.8}; }
  Head<Double> teacher() const { return {&teacher_weight, nullptr, 1.3}; }

  /// term = slope log q.
  PolicyLoss<Double> fused(const C& context, const V& h) const {
    const Head<Double> from = teacher();
    return head_policy_loss(context, ReverseKl{}, student(), h, &from, teacher_hidden, weights,
                            {.tokens = tokens,
                             .term =
                                 [this](Index r, double log_q) {
                                   const double slope = slopes[static_cast<std::size_t>(r)];
                                   return TokenTerm{slope * log_q, slope};
                                 },
                             .divergence_weights = factors},
                            options);
  }

  /// The divergence's part by `head_divergence`, the tokens' by plain ops.
  V plain(const C& context, const V& h) const {
    std::vector<double> both;
    for (Index r = 0; r < rows; ++r) both.push_back(weights.data()[r] * factors.data()[r]);
    const V divergence = head_divergence(context, ReverseKl{}, student(), h, teacher(), teacher_hidden,
                                         TensorOf<Double>::from({rows}, both), options)
                             .value;
    const V b = context.use(bias);
    const V log_q = log_softmax(linear(scale(h, 0.8), context.use(weight), &b));  // (rows, vocabulary)
    TensorOf<Double> by_element = TensorOf<Double>::zeros({rows, vocabulary});
    for (Index r = 0; r < rows; ++r)
      by_element.data()[r * vocabulary + tokens.data()[r]] =
          weights.data()[r] * slopes[static_cast<std::size_t>(r)];
    return add(divergence, sum(multiply(V(by_element), log_q)));
  }

  void clear() const {
    weight.clear_grad();
    bias.clear_grad();
  }
};

/// Value, and gradients to hidden states, head weight and bias.
std::vector<double> numbers(const Setting& s, bool fused, double upstream) {
  s.clear();
  Tape<Double> tape;
  const C context{.tape = &tape};
  const V h = tape.leaf(s.hidden);
  const V loss = fused ? s.fused(context, h).value : s.plain(context, h);
  tape.backward(loss, upstream);
  std::vector<double> all = values(loss.value());
  for (const auto& part : {s.weight.grad, s.bias.grad, tape.gradient(h)})
    for (const double x : values(part)) all.push_back(x);
  return all;
}

}  // namespace

TEST_CASE(
    "the policy loss equals its composition: value and gradients, whatever the chunks and the upstream") {
  Setting s;
  for (const double temperature : {1.0, 1.5})
    for (const Index chunk : {1, 3, 7, 0})
      for (const double upstream : {1., 0.25, -3.}) {
        CAPTURE(temperature, chunk, upstream);
        s.options = {.temperature = temperature, .chunk_rows = chunk};
        CHECK(difference(numbers(s, true, upstream), numbers(s, false, upstream)) <= 1e-13);
      }
}

TEST_CASE("a policy loss reports log-probabilities, divergences and terms of its rows") {
  const Setting s;
  Tape<Double> tape;
  const C context{.tape = &tape};
  const auto loss = s.fused(context, tape.leaf(s.hidden));
  const V b(s.bias.value);
  const auto log_q = values(log_softmax(linear(scale(V(s.hidden), 0.8), V(s.weight.value), &b)).value());
  const Head<Double> teacher = s.teacher();
  const auto all = head_divergence(C{}, ReverseKl{}, s.student(), V(s.hidden), teacher, s.teacher_hidden,
                                   TensorOf<Double>::full({rows}, 1.0), s.options);
  for (Index r = 0; r < rows; ++r) {
    const auto i = static_cast<std::size_t>(r);
    const double expected = log_q[static_cast<std::size_t>(r * vocabulary + s.tokens.data()[r])];
    CHECK(loss.log_probability[i] == Approx(expected).epsilon(1e-13));
    CHECK(loss.term[i] == Approx(s.slopes[i] * expected).epsilon(1e-13));
    const bool counts = s.weights.data()[r] * s.factors.data()[r] != 0;
    CHECK(loss.divergence[i] == Approx(counts ? all.per_row[i] : 0).epsilon(1e-13));
  }
}

TEST_CASE("the gradient of a curved token term is that of finite differences") {
  Setting s;
  const Head<Double> teacher = s.teacher();
  const auto loss = [&](const C& context, const V& h) {
    return head_policy_loss(context, Jsd{0.3}, s.student(), h, &teacher, s.teacher_hidden, s.weights,
                            {.tokens = s.tokens,
                             .term =
                                 [](Index r, double log_q) {  // a ratio q / q_old times an advantage
                                   const double rho = std::exp(log_q + 2) * (static_cast<double>(r) - 2.5);
                                   return TokenTerm{rho, rho};
                                 },
                             .divergence_weights = s.factors},
                            s.options)
        .value;
  };
  s.clear();
  Tape<Double> tape;
  const C context{.tape = &tape};
  const V h = tape.leaf(s.hidden);
  tape.backward(loss(context, h));
  const auto gradient = values(tape.gradient(h)), to_weight = values(s.weight.grad);
  const auto slope = [&](double& x) {
    const double before = x, step = 1e-6;
    x = before + step;
    const double above = loss(C{}, V(s.hidden)).item();
    x = before - step;
    const double below = loss(C{}, V(s.hidden)).item();
    x = before;
    return (above - below) / (2 * step);
  };
  for (std::size_t k = 0; k < gradient.size(); ++k)
    CHECK(gradient[k] == Approx(slope(s.hidden.span()[k])).margin(1e-8));
  for (std::size_t k = 0; k < to_weight.size(); ++k)
    CHECK(to_weight[k] == Approx(slope(s.weight.value.span()[k])).margin(1e-8));
}

TEST_CASE("without a teacher there is the token term alone, and no divergence to weigh") {
  Setting s;
  const PolicyRows<Double> policy{.tokens = s.tokens,
                                  .term =
                                      [](Index, double log_q) {
                                        return TokenTerm{-log_q, -1};
                                      },
                                  .divergence_weights = TensorOf<Double>::zeros({rows})};
  const auto loss = head_policy_loss(C{}, ReverseKl{}, s.student(), V(s.hidden),
                                     static_cast<Head<Double>*>(nullptr), {}, s.weights, policy);
  const auto expected = head_cross_entropy(C{}, s.student(), V(s.hidden), s.tokens, s.weights);
  CHECK(loss.value.item() == Approx(expected.value.item()).epsilon(1e-13));
  const auto refuse = [&](const PolicyRows<Double>& p, const TensorOf<Double>& teacher_hidden,
                          bool with_teacher) {
    const Head<Double> teacher = s.teacher();
    return message_of<Error>([&] {
      (void)head_policy_loss(C{}, ReverseKl{}, s.student(), V(s.hidden), with_teacher ? &teacher : nullptr,
                             teacher_hidden, s.weights, p);
    });
  };
  CHECK(refuse({.tokens = s.tokens}, {}, false) ==
        "[head_policy_loss] a divergence needs a teacher, none was given");
  CHECK(refuse({.tokens = s.tokens, .divergence_weights = s.factors}, {}, false) ==
        "[head_policy_loss] a divergence of weight 1 needs a teacher, none was given");
  CHECK(refuse({.tokens = index_tensor({0, 1})}, s.teacher_hidden, true).find("tokens has shape (2)") !=
        std::string::npos);
  CHECK(refuse({.tokens = index_tensor({0, 1, 2, 3, 4, 5, 11})}, s.teacher_hidden, true) ==
        "[head_policy_loss] token 11 is outside [0, 11)");
  CHECK(refuse({.tokens = s.tokens}, normal_tensor({6, teacher_width}, 1), true) ==
        "[head_policy_loss] teacher's hidden states (6, 3) for a head of width 3 and 7 student rows");
}
