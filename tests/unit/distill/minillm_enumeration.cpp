// MiniLLM proved by enumeration: with 4 tokens and responses of at most 3, the expectation of the estimator
// is a sum over 40 responses, and must be the gradient of KL(q || p) between whole responses.
#include "catch.hpp"
#include "four_tokens.hpp"
#include "retort/distill/minillm.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using Numbers = std::vector<double>;

namespace {

/// The paper's estimator without what is known to bias it.
MiniLlm<> unbiased(double alpha, ImportanceWeight importance) {
  MiniLlm<> how = minillm::paper();
  how.sampling.alpha = alpha;
  how.importance = importance;
  how.returns.length_normalised = false;
  how.clip.epsilon = HUGE_VAL;
  return how;
}

/// The models of one case with all responses and their probabilities.
template <class Model>
struct Case {
  Model student, teacher;
  Enumeration all{};
  Numbers log_q = all.token_logs(student), log_p = all.token_logs(teacher);

  /// log of the mixture's probability of each token.
  [[nodiscard]] Numbers log_mixture(double alpha) const {
    Numbers out;
    for (std::size_t t = 0; t < log_q.size(); ++t)
      out.push_back(std::log(alpha * std::exp(log_p[t]) + (1 - alpha) * std::exp(log_q[t])));
    return out;
  }

  /// KL(q || p) over responses.
  [[nodiscard]] double divergence() {
    const Numbers q = all.sums(all.token_logs(student)), p = all.sums(log_p);
    double sum = 0;
    for (std::size_t i = 0; i < q.size(); ++i) sum += std::exp(q[i]) * (q[i] - p[i]);
    return sum;
  }

  /// Its gradient: sum over y of q(y) (log q(y) - log p(y)) grad log q(y), by the cross-entropy of the
  /// responses.
  [[nodiscard]] Numbers exact() {
    const Numbers q = all.sums(log_q), p = all.sums(log_p);
    Numbers weights;
    for (int i = 0; i < all.size(); ++i) {
      const auto r = static_cast<std::size_t>(i);
      weights.insert(weights.end(), static_cast<std::size_t>(all.batch.responses.length(i)),
                     -std::exp(q[r]) * (q[r] - p[r]));
    }
    const auto list = parameters(student);
    for (auto* parameter : list) parameter->clear_grad();
    Tape<Double> tape;
    Context<Double> context{.tape = &tape};
    const auto hidden = student.hidden(context, all.batch.prompts, all.batch.responses);
    const auto loss =
        head_cross_entropy(context, student.head(), hidden, index_tensor<Double>(all.batch.responses.tokens),
                           TensorOf<Double>::from({std::ssize(weights)}, weights));
    tape.backward(loss.value);
    return gradients<Double>(list);
  }

  /// Expectation of the estimator over what `how` samples.
  [[nodiscard]] Numbers expectation(const MiniLlm<>& how) {
    const Numbers log_draw = log_mixture(how.sampling.alpha), draw = all.sums(log_draw);
    const Rollouts rollouts{all.batch, log_q, log_p, log_draw};
    const auto list = parameters(student);
    Numbers sum(gradients<Double>(list).size(), 0);
    double probability = 0;
    for (int i = 0; i < all.size(); ++i) {
      const Rollouts one = rollouts.select(std::vector{i});
      for (auto* parameter : list) parameter->clear_grad();
      Tape<Double> tape;
      Context<Double> context{.tape = &tape};
      const auto loss = minillm_loss(how, context, student, teacher, one, token_targets(how, one), 0,
                                     Normaliser::of(one.samples.responses));
      tape.backward(loss.value);
      const double chance = std::exp(draw[static_cast<std::size_t>(i)]);
      const Numbers gradient = gradients<Double>(list);
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += chance * gradient[k];
      probability += chance;
    }
    CHECK(probability == Approx(1).epsilon(1e-12));
    return sum;
  }
};

using Decoders = Case<Decoder<Double>>;
using EncoderDecoders = Case<EncoderDecoder<Double, T5v11>>;

template <class F>
void both(F f) {
  Decoders decoders{four_token_decoder<Double>(1), four_token_decoder<Double>(2)};
  f(decoders);
  EncoderDecoders encoder_decoders{four_token_t5<Double>(1), four_token_t5<Double>(2)};
  f(encoder_decoders);
}

double norm(const Numbers& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

/// |a - b| / |b|.
double apart(const Numbers& a, const Numbers& b) {
  Numbers d(a.size());
  for (std::size_t k = 0; k < a.size(); ++k) d[k] = a[k] - b[k];
  return norm(d) / norm(b);
}

}  // namespace

TEST_CASE("the exact gradient of the enumeration is that of finite differences") {
  both([](auto& c) {
    const Numbers exact = c.exact();
    const auto list = parameters(c.student);
    std::size_t first = 0;
    for (auto* p : list) {
      auto values = p->value.span();
      for (std::size_t k = 0; k < values.size(); k += 7) {
        const double before = values[k], h = 1e-5;
        values[k] = before + h;
        const double above = c.divergence();
        values[k] = before - h;
        const double below = c.divergence();
        values[k] = before;
        REQUIRE((above - below) / (2 * h) == Approx(exact[first + k]).margin(1e-8));
      }
      first += values.size();
    }
  });
}

TEST_CASE("on-policy, the paper's estimator is the gradient of the KL between responses") {
  both([](auto& c) {
    CHECK(relative_difference(c.expectation(unbiased(0, ImportanceWeight::single_step)), c.exact()) <= 1e-9);
    CHECK(relative_difference(c.expectation(unbiased(0, ImportanceWeight::none)), c.exact()) <= 1e-9);
  });
}

TEST_CASE("teacher-mixed with product weights, it still is") {
  both([](auto& c) {
    for (const double alpha : {0.2, 0.7, 1.0})
      CHECK(relative_difference(c.expectation(unbiased(alpha, ImportanceWeight::product)), c.exact()) <=
            1e-9);
  });
}

TEST_CASE("the single-step part and the long part together are the undivided policy gradient") {
  both([](auto& c) {
    MiniLlm<> undivided = unbiased(0, ImportanceWeight::none);
    undivided.returns.own_reward = true;
    undivided.single_step = 0;
    CHECK(relative_difference(c.expectation(undivided), c.exact()) <= 1e-9);
    // and each part alone is not
    MiniLlm<> only_long = unbiased(0, ImportanceWeight::none);
    only_long.single_step = 0;
    CHECK(relative_difference(c.expectation(only_long), c.exact()) > 0.1);
  });
}

TEST_CASE("what single-step weights, missing weights and length normalisation add is measured") {
  Decoders c{four_token_decoder<Double>(1), four_token_decoder<Double>(2)};
  const Numbers exact = c.exact();
  const double single = apart(c.expectation(unbiased(0.2, ImportanceWeight::single_step)), exact);
  const double none = apart(c.expectation(unbiased(0.2, ImportanceWeight::none)), exact);
  MiniLlm<> normalised = unbiased(0, ImportanceWeight::none);
  normalised.returns.length_normalised = true;
  const double length = apart(c.expectation(normalised), exact);
  // The figures of docs/architecture.md.
  CHECK(single == Approx(0.344).margin(0.0005));
  CHECK(none == Approx(0.430).margin(0.0005));
  CHECK(length == Approx(0.057).margin(0.0005));
}
