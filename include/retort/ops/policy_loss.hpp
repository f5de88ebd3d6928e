#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "retort/ops/head_loss.hpp"

/// Output projection, divergence from the teacher and a policy gradient in one pass over the logits.
namespace retort {

/// A function of a sampled token's log-probability log q, with its derivative by log q, and what the row's
/// divergence is multiplied by: a number without a gradient, which may depend on log q as well.
struct TokenTerm {
  double value = 0;
  double slope = 0;
  double divergence_weight = 1;
};

/// What a policy loss wants of each row, beside its weight in the sum.
template <Backend B>
struct PolicyRows {
  IndexTensor<B> tokens;  ///< (rows): the token that was sampled from the row's distribution
  /// The row's token term at log q(token); called once a row, in the order of rows, before
  /// head_policy_loss returns. None: 0.
  std::function<TokenTerm(Index row, double log_q)> term = {};
  StatisticTensor<B> divergence_weights = {};  ///< (rows): factor of a row's divergence, beside its
                                               ///< term's; undefined: 1
};

/// A policy loss with what its pass knows of each row.
template <Backend B>
struct PolicyLoss {
  Variable<B> value;                    ///< sum over rows of weight * (divergence weight * D + token term)
  std::vector<double> log_probability;  ///< log q(token), at temperature 1
  std::vector<double> divergence;       ///< D, unweighted; 0 where its weight is 0
  std::vector<double> term;             ///< value of the token term
};

/// Sum over rows r of weights[r] * (divergence_weights[r] * D(p_r || q_r) + term(r, log q_r(tokens[r]))): as
/// `head_divergence`, with a function of the sampled token's log-probability beside the divergence. Policy
/// gradients, importance weights and their clipping are such functions; a cross-entropy is term = -log q.
/// Logits are projected once for both, a chunk of rows at a time. The token's log-probability is over the
/// student's whole vocabulary at temperature 1, whatever the temperature of the divergence.
///
/// `teacher` may be nullptr if all divergence weights are 0. Throws ShapeError where rows and widths do not
/// fit, ValueError unless the temperature is above 0.
///
/// Definition: sum(weights * (divergence_weights * D(softmax(teacher logits), softmax(logits)) +
/// term(log_softmax (logits)[tokens]))).
template <class Divergence, Backend B>
[[nodiscard]] PolicyLoss<B> head_policy_loss(const Context<B>& context, const Divergence& divergence,
                                             const Head<B>& student, const Variable<B>& hidden,
                                             const Head<B>* teacher, const TensorOf<B>& teacher_hidden,
                                             const StatisticTensor<B>& weights, const PolicyRows<B>& rows,
                                             const HeadLossOptions& options = {},
                                             const LogitsObserver<B>& observe = {}) {
  using T = typename B::Scalar;
  using S = StatisticOf<B>;
  constexpr const char* op = "head_policy_loss";
  const Index count = hidden.shape()[0], vs = student.vocabulary();
  require_shape(op, "tokens", rows.tokens.shape(), Shape{count});
  kernels::require_indices(typename B::Device{}, op, "token", count, rows.tokens.data(), vs);
  if (rows.divergence_weights)
    require_shape(op, "divergence weights", rows.divergence_weights.shape(), Shape{count});
  if (!(options.temperature > 0)) fail<ValueError>(op, "temperature {}, expected > 0", options.temperature);
  if (teacher == nullptr) {
    if (!rows.divergence_weights) fail<ValueError>(op, "a divergence needs a teacher, none was given");
    for (const S w : rows.divergence_weights.to_host())
      if (w != S(0)) fail<ValueError>(op, "a divergence of weight {} needs a teacher, none was given", w);
  } else if (teacher_hidden.rank() != 2 || teacher_hidden.shape()[1] != teacher->width() ||
             teacher_hidden.shape()[0] != count) {
    fail<ShapeError>(op, "teacher's hidden states {} for a head of width {} and {} student rows",
                     teacher_hidden.shape(), teacher->width(), count);
  }

  // What a pass over the rows leaves behind. Shared with the pass, which may run again in backward().
  const auto size = static_cast<std::size_t>(count);
  struct Noted {
    std::vector<double> log_probability, divergence, term;
    std::vector<S> slope, factor;
    bool complete = false;  // the caller's functions are called in the first pass only, while they live
  };
  const auto noted = std::make_shared<Noted>(Noted{
      std::vector<double>(size), std::vector<double>(size), std::vector<double>(size), std::vector<S>(size),
      rows.divergence_weights ? rows.divergence_weights.to_host() : std::vector<S>(size, S(1))});
  const bool has_teacher = teacher != nullptr;
  const Head<B> teacher_head = has_teacher ? *teacher : Head<B>{};
  const Index vt = has_teacher ? teacher_head.vocabulary() : 1;
  const auto pass = [=, tokens = rows.tokens, term = rows.term](Index first, Index n, T* logits, const S* w,
                                                                bool gradient, double* loss) {
    const typename B::Device device{};
    if (!noted->complete) {
      StatisticTensor<B> log_q({n});
      kernels::token_log_probabilities(device, n, vs, std::as_const(logits), tokens.data() + first, 1,
                                       log_q.data(), logits_stride<B>(vs));
      const std::vector<S> at = log_q.to_host();
      for (Index i = 0; i < n; ++i) {
        const auto r = static_cast<std::size_t>(first + i);
        noted->log_probability[r] = static_cast<double>(at[static_cast<std::size_t>(i)]);
        const TokenTerm t = term ? term(first + i, noted->log_probability[r]) : TokenTerm{};
        noted->term[r] = t.value;
        noted->slope[r] = static_cast<S>(t.slope);
        noted->factor[r] *= static_cast<S>(t.divergence_weight);
      }
    }
    const auto part = [&](const std::vector<S>& of) {
      return StatisticTensor<B>::from(
          {n}, std::span(of).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(n)));
    };
    StatisticTensor<B> slope = part(noted->slope), divergence_weight = part(noted->factor);
    for (StatisticTensor<B>* x : {&slope, &divergence_weight})
      kernels::map(device, Write::overwrite, n, functors::Multiply{}, x->data(), std::as_const(*x).data(), w);
    TensorOf<B> other({n, logits_stride<B>(vt)});  // the teacher's logits
    if (has_teacher) {
      project(teacher_head, n, teacher_hidden.data() + first * teacher_head.width(), other.data());
      if (observe && !noted->complete) observe(first, n, logits, std::as_const(other).data());
    }
    detail::RowLosses<B> losses({n});
    kernels::row_loss(device, divergence,
                      {n, vs, vt, options.temperature, gradient, logits_stride<B>(vs), logits_stride<B>(vt)},
                      logits, other.data(), std::as_const(divergence_weight).data(), losses.data(),
                      kernels::TokenSlopes<T>{tokens.data() + first, std::as_const(slope).data()});
    std::vector<double> of_row = losses.to_host();
    for (std::size_t i = 0; i < of_row.size(); ++i) {
      const auto r = static_cast<std::size_t>(first) + i;
      noted->divergence[r] = of_row[i];
      of_row[i] = static_cast<double>(noted->factor[r]) * of_row[i] + noted->term[r];
    }
    memory::from_host(device, of_row.data(), loss, n);
  };
  const Index chunk = detail::chunk_of<B>(options, (vs + vt) * static_cast<Index>(sizeof(T)));
  auto loss = detail::head_loss<B>(context, op, student, hidden, weights, chunk, pass);
  noted->complete = true;
  return {loss.value, noted->log_probability, noted->divergence, noted->term};
}

}  // namespace retort
