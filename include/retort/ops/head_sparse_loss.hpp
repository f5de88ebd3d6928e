#pragma once

#include <utility>
#include <vector>

#include "retort/kernels/cpu/sparse_row_loss.hpp"
#include "retort/ops/head_loss.hpp"

/// The fused loss of head_loss.hpp for a teacher that is a table: its most probable tokens, from a file for
/// example.
namespace retort {

/// A teacher's k most probable next tokens at each row, and the probability of all others together.
template <Backend B>
struct SparseTeacherRows {
  IndexTensor<B> ids;           ///< (rows, k), different tokens in a row
  StatisticTensor<B> log_p;     ///< (rows, k): their log-probabilities
  StatisticTensor<B> log_tail;  ///< (rows): log-probability of all others, -inf if there are none
  Index vocabulary = 0;         ///< how many tokens the distribution is over
  double temperature = 1;       ///< the teacher's logits were divided by it
};

namespace detail {

template <Backend B>
void require_sparse_rows(const char* op, const SparseTeacherRows<B>& teacher, Index rows, Index student,
                         const HeadLossOptions& options) {
  if (teacher.ids.rank() != 2 || teacher.ids.shape()[0] != rows)
    fail<ShapeError>(op, "teacher's tokens {} for {} student rows, expected ({}, k)", teacher.ids.shape(),
                     rows, rows);
  const Index k = teacher.ids.shape()[1];
  require_shape(op, "teacher's log-probabilities", teacher.log_p.shape(), Shape{rows, k});
  require_shape(op, "teacher's tails", teacher.log_tail.shape(), Shape{rows});
  if (k < 1 || teacher.vocabulary < k)
    fail<ValueError>(op, "{} teacher's tokens a row of a vocabulary of {}, expected 1 or more", k,
                     teacher.vocabulary);
  if (student < teacher.vocabulary)
    fail<ValueError>(
        op,
        "the student's head has {} tokens, the teacher's probabilities are of {}: make them over "
        "the tokens that both have",
        student, teacher.vocabulary);
  if (options.temperature != teacher.temperature)
    fail<ValueError>(op,
                     "the loss has temperature {}, the teacher's probabilities {}: those at another "
                     "temperature cannot be had from them",
                     options.temperature, teacher.temperature);
  std::vector<Index> seen(static_cast<std::size_t>(teacher.vocabulary), -1);  // last row that has the token
  const auto ids = teacher.ids.to_host();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Index row = static_cast<Index>(i) / k;
    if (ids[i] < 0 || ids[i] >= teacher.vocabulary)
      fail<ShapeError>(op, "teacher's token {} is outside [0, {})", ids[i], teacher.vocabulary);
    if (std::exchange(seen[static_cast<std::size_t>(ids[i])], row) == row)
      fail<ValueError>(op, "the teacher's tokens of row {} have {} twice", row, ids[i]);
  }
}

}  // namespace detail

/// Sum over rows r of weights[r] * D(p_r || q_r), both as distributions over the teacher's k tokens of the
/// row and one more outcome, "any other token": never negative, never more than `head_divergence` with the
/// whole teacher. q from the student's hidden states (rows, width) through its head; logits of the student
/// beyond the teacher's vocabulary (padding) count as probability 0. Throws ShapeError for shapes that do not
/// fit and tokens outside the vocabulary, ValueError for a token twice in a row, a student with fewer tokens
/// than the teacher's vocabulary, and a temperature that is not the teacher's.
///
/// Definition: sum(weights * D(p, q)) of probabilities with the tail appended, see
/// kernels/cpu/sparse_row_loss.hpp.
template <class Divergence, Backend B>
[[nodiscard]] HeadLoss<B> head_sparse_divergence(const Context<B>& context, const Divergence& divergence,
                                                 const Head<B>& student, const Variable<B>& hidden,
                                                 const SparseTeacherRows<B>& teacher,
                                                 const StatisticTensor<B>& weights,
                                                 const HeadLossOptions& options = {}) {
  using T = typename B::Scalar;
  constexpr const char* op = "head_sparse_divergence";
  const Index v = student.vocabulary();
  detail::require_sparse_rows(op, teacher, hidden.value().rank() == 0 ? 0 : hidden.shape()[0], v, options);
  const Index k = teacher.ids.shape()[1];
  return detail::head_loss(
      context, op, student, hidden, weights, detail::chunk_of<B>(options, v * static_cast<Index>(sizeof(T))),
      [=](Index first, Index n, T* logits, const StatisticOf<B>* w, bool gradient, double* loss) {
        kernels::sparse_row_loss(
            typename B::Device{}, divergence,
            {n, v, teacher.vocabulary, k, options.temperature, gradient, logits_stride<B>(v)}, logits,
            teacher.ids.data() + first * k, teacher.log_p.data() + first * k, teacher.log_tail.data() + first,
            w, loss);
      });
}

}  // namespace retort
