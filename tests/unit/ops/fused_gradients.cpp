// The ops with parameters, random numbers or models' heads in them, by every differentiable argument at sizes
// 1, 7 and 17, in double against central differences. The others are in gradients.cpp.
#include <functional>

#include "catch.hpp"
#include "retort/autograd/gradient_check.hpp"
#include "retort/distill/divergences.hpp"
#include "retort/ops/arithmetic.hpp"
#include "retort/ops/attention.hpp"
#include "retort/ops/dropout.hpp"
#include "retort/ops/head_sparse_loss.hpp"
#include "retort/ops/low_rank.hpp"
#include "retort/ops/policy_loss.hpp"
#include "variables.hpp"

using namespace retort;
using namespace retort::test;
using V = Variable<Double>;
using C = Context<Double>;
using P = Parameter<Double>;

namespace {

constexpr Index sizes[] = {1, 7, 17};

/// A student's head over n tokens for n hidden states of width n, and a teacher's.
struct Heads {
  Index n;
  P hidden{"hidden", {n, n}}, weight{"head.weight", {n, n}}, bias{"head.bias", {n}},
      teacher{"teacher.weight", {n, n}};
  TensorOf<Double> teacher_hidden = normal_tensor({n, n}, 5), weights = normal_tensor({n}, 6);
  IndexTensor<Double> tokens = index_tensor(indices(n, n, 7));

  explicit Heads(Index size) : n(size) {
    hidden.value = normal_tensor({n, n}, 1);
    weight.value = normal_tensor({n, n}, 2, 1 / std::sqrt(static_cast<double>(n)));
    bias.value = normal_tensor({n}, 3);
    teacher.value = normal_tensor({n, n}, 4, 1 / std::sqrt(static_cast<double>(n)));
  }
  Head<Double> student_head() const { return {.weight = &weight, .bias = &bias, .scale = 0.7}; }
  Head<Double> teacher_head() const { return {.weight = &teacher}; }

  /// The loss's gradients with respect to hidden states, weight and bias are right; with an upstream gradient
  /// of 2.
  void check(const std::function<V(C&, const V&)>& loss) {
    const auto result = check_parameter_gradients<Double>(
        [&](C& context) { return scale(loss(context, context.use(hidden)), 2); }, {&hidden, &weight, &bias},
        400, 1e-6);
    INFO("size " << n << ": " << result.worst);
    CHECK(result.relative_error <= 1e-6);
  }
};

}  // namespace

TEST_CASE(
    "gradients of head and cross-entropy, divergence, policy loss and sparse divergence, at sizes 1, 7 and "
    "17") {
  for (const Index n : sizes) {
    Heads h(n);
    h.check([&](C& context, const V& x) {
      return head_cross_entropy(context, h.student_head(), x, h.tokens, h.weights).value;
    });
    h.check([&](C& context, const V& x) {
      return head_divergence(context, Jsd{0.3}, h.student_head(), x, h.teacher_head(), h.teacher_hidden,
                             h.weights, {.temperature = 1.3})
          .value;
    });
    h.check([&](C& context, const V& x) {
      const Head<Double> teacher = h.teacher_head();
      return head_policy_loss(
                 context, ReverseKl{}, h.student_head(), x, &teacher, h.teacher_hidden, h.weights,
                 {.tokens = h.tokens,
                  .term =
                      [](Index r, double log_q) {
                        const double rho = std::exp(log_q + 1) * (0.5 + static_cast<double>(r % 3));
                        return TokenTerm{rho, rho};
                      }},
                 {.temperature = 1.3})
          .value;
    });
    const Index k = std::max<Index>(1, n / 3);
    std::vector<std::int32_t> ids;
    std::vector<double> log_p;
    for (Index r = 0; r < n; ++r)
      for (Index i = 0; i < k; ++i) {
        ids.push_back(static_cast<std::int32_t>((r + 2 * i) % n));
        log_p.push_back(std::log(0.8 / static_cast<double>(k)));
      }
    const SparseTeacherRows<Double> rows{IndexTensor<Double>::from({n, k}, ids),
                                         TensorOf<Double>::from({n, k}, log_p),
                                         TensorOf<Double>::full({n}, std::log(0.2)), n, 1.0};
    if (n > 1)  // with one token there is no other outcome
      h.check([&](C& context, const V& x) {
        return head_sparse_divergence(context, Jsd{0.3}, h.student_head(), x, rows, h.weights).value;
      });
  }
}

TEST_CASE("gradients of a low-rank product at sizes 1, 7 and 17") {
  for (const Index n : sizes) {
    const auto result = check_gradients(
        [&](C&, const std::vector<V>& v) { return add_low_rank(v[0], v[1], v[2], v[3], -1.5, 0); },
        {normal_tensor({n, n}, 1), normal_tensor({n, n}, 2), normal_tensor({n, n}, 3),
         normal_tensor({n, n}, 4)});
    INFO(result.worst);
    CHECK(result.relative_error <= 1e-6);
  }
}

TEST_CASE("gradients of dropout, and of attention with dropped weights, at sizes 1, 7 and 17") {
  for (const Index n : sizes) {
    const auto dropped = check_gradients(
        [](C& context, const std::vector<V>& v) {
          context.training = true;
          context.draws = 0;  // the same mask each time
          return dropout(context, v[0], 0.4);
        },
        {normal_tensor({n, n}, 1)});
    INFO(dropped.worst);
    CHECK(dropped.relative_error <= 1e-6);

    auto layout = std::make_shared<AttentionLayout>();
    layout->queries = layout->keys = kernels::Segments::packed({static_cast<std::int32_t>(n)});
    const AttentionOptions options{
        .heads = 2, .kv_heads = 1, .scale = 0.7, .causal = true, .dropout = 0.4, .key = {3, 4}};
    const auto attended = check_gradients(
        [&](C&, const std::vector<V>& v) { return self_attention<Double>(options, layout, v[0], &v[1]); },
        {normal_tensor({n, 4 * 5}, 2), normal_tensor({2, 2 * n - 1}, 3)});
    INFO(attended.worst);
    CHECK(attended.relative_error <= 1e-6);
  }
}
