#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "retort/autograd/context.hpp"
#include "retort/kernels/cpu/gather.hpp"
#include "retort/kernels/cpu/gemm.hpp"
#include "retort/kernels/cpu/norm.hpp"
#include "retort/kernels/cpu/row_loss.hpp"

/// Output projection and loss in one op, a chunk of rows at a time: logits (rows, vocabulary) are never whole
/// in memory, and the gradient overwrites them where they stand.
namespace retort {

/// The projection from hidden states to logits: scale * (h w') + bias. w (vocabulary, width), bias
/// (vocabulary) or nullptr; T5's tied head has scale width^-1/2.
template <Backend B>
struct Head {
  const Parameter<B>* weight = nullptr;  ///< (vocabulary, width)
  const Parameter<B>* bias = nullptr;    ///< (vocabulary), or none
  double scale = 1;

  /// Number of logits.
  [[nodiscard]] Index vocabulary() const { return weight->shape()[0]; }
  /// Width of the hidden states.
  [[nodiscard]] Index width() const { return weight->shape()[1]; }
};

/// Elements from one row of logits to the next: on a GPU rows begin at 16 bytes, or its matrix products would
/// be slow.
template <Backend B>
[[nodiscard]] constexpr Index logits_stride(Index vocabulary) {
  if constexpr (std::same_as<typename B::Device, CpuDevice>) return vocabulary;
  constexpr Index grain = 16 / static_cast<Index>(sizeof(typename B::Scalar));
  return (vocabulary + grain - 1) / grain * grain;
}

/// Logits (rows, vocabulary) of hidden states (rows, width), without a record; rows are `stride` apart, 0:
/// `logits_stride`.
template <Backend B>
void project(const Head<B>& head, Index rows, const typename B::Scalar* hidden, typename B::Scalar* logits,
             Index stride = 0) {
  using T = typename B::Scalar;
  const T* bias = head.bias != nullptr ? std::as_const(head.bias->value).data() : nullptr;
  kernels::linear(typename B::Device{}, rows, head.vocabulary(), head.width(),
                  static_cast<StatisticOf<B>>(head.scale), hidden, std::as_const(head.weight->value).data(),
                  bias, logits, stride == 0 ? logits_stride<B>(head.vocabulary()) : stride);
}

/// A weighted sum of row losses.
template <Backend B>
struct HeadLoss {
  Variable<B> value;            ///< sum over rows of weight * loss
  std::vector<double> per_row;  ///< the unweighted loss of each row (0 where the weight is 0)
};

/// How the loss is computed; no choice changes its value beyond rounding.
struct HeadLossOptions {
  double temperature = 1;  ///< divides both rows of logits
  Index chunk_rows = 0;    ///< rows whose logits are in memory at once; 0: as many as fit in `chunk_bytes`
  Index chunk_bytes = 0;   ///< of logits, both models' together; 0: 52 MiB on a CPU, 512 MiB on a GPU
};

/// Looks at a chunk of logits before they become gradients: (first row, rows, student's logits (rows, student
/// vocabulary), teacher's logits (rows, teacher vocabulary)), rows `logits_stride` apart. For measurements;
/// called in the order of rows, before the loss returns.
template <Backend B>
using LogitsObserver =
    std::function<void(Index, Index, const typename B::Scalar*, const typename B::Scalar*)>;

namespace detail {

/// A chunk costs one reading and writing of the head's gradient: a GPU, whose products are faster by far,
/// wants few.
template <Backend B>
Index chunk_of(const HeadLossOptions& o, Index bytes_per_row) {
  if (o.chunk_rows > 0) return o.chunk_rows;
  constexpr Index usual = Index{std::same_as<typename B::Device, CpuDevice> ? 52 : 512} << 20;
  return std::max<Index>(16, (o.chunk_bytes > 0 ? o.chunk_bytes : usual) / bytes_per_row);
}

/// What happens to a chunk of logits: (first row, rows, logits, weights, whether to replace the logits by
/// their gradient, where the rows' losses go). Called once a chunk, so that its type need not be known to the
/// code around it.
template <Backend B>
using RowPass = std::function<void(Index, Index, typename B::Scalar*, const StatisticOf<B>*, bool, double*)>;

/// The losses of rows, on the device.
template <Backend B>
using RowLosses = Tensor<double, typename B::Device>;

/// Runs `row_pass` over chunks of rows. With `gradient`, dh (rows, width; nullptr: not wanted) receives the
/// gradient to the hidden states, and the head's parameters theirs.
template <Backend B>
void for_chunks(const Head<B>& head, const TensorOf<B>& hidden, const StatisticTensor<B>& weights,
                Index chunk, bool gradient, typename B::Scalar* dh, RowLosses<B>& per_row,
                const RowPass<B>& row_pass) {
  using T = typename B::Scalar;
  using kernels::Op;
  const typename B::Device device{};
  const Index rows = hidden.shape()[0], v = head.vocabulary(), d = head.width(), ld = logits_stride<B>(v);
  const auto s = static_cast<StatisticOf<B>>(head.scale);
  TensorOf<B> logits({std::min(chunk, rows), ld});
  for (Index first = 0; first < rows; first += chunk) {
    const Index n = std::min(chunk, rows - first);
    const T* h = hidden.data() + first * d;
    project(head, n, h, logits.data());
    row_pass(first, n, logits.data(), weights.data() + first, gradient, per_row.data() + first);
    if (!gradient) continue;
    if (dh != nullptr)
      kernels::gemm(device, Op::none, Op::none, n, d, v, s, logits.data(), ld,
                    std::as_const(head.weight->value).data(), d, T(0), dh + first * d, d);
    if (head.weight->trainable) {
      const T beta = head.weight->open_grad() == Write::accumulate ? T(1) : T(0);
      kernels::gemm(device, Op::transpose, Op::none, v, d, n, s, logits.data(), ld, h, d, beta,
                    head.weight->grad.data(), d);
    }
    if (head.bias != nullptr && head.bias->trainable) {
      const Write write = head.bias->open_grad();
      kernels::sum_rows(device, write, n, v, logits.data(), head.bias->grad.data(), ld);
    }
  }
}

/// The parameters of the head that take a gradient.
template <Backend B>
std::vector<const Parameter<B>*> trainable_of(const Head<B>& head) {
  std::vector<const Parameter<B>*> list;
  for (const auto* p : {head.weight, head.bias})
    if (p != nullptr && p->trainable) list.push_back(p);
  return list;
}

/// The op around `for_chunks`. Gradients are computed in the forward pass, while the logits are at hand, for
/// an upstream gradient of 1; another upstream gradient u costs a second pass with weights (u - 1) in
/// `backward`. The head's gradients are written in the forward pass, so they must not be cleared before
/// `backward`: ValueError.
template <Backend B>
HeadLoss<B> head_loss(const Context<B>& context, const char* op, const Head<B>& head,
                      const Variable<B>& hidden, const StatisticTensor<B>& weights, Index chunk,
                      RowPass<B> row_pass) {
  using T = typename B::Scalar;
  if (hidden.value().rank() != 2 || hidden.shape()[1] != head.width())
    fail<ShapeError>(op, "hidden states {} and head weight {}: expected (rows, width), (vocabulary, width)",
                     hidden.shape(), head.weight->shape());
  const Index rows = hidden.shape()[0];
  require_shape(op, "row weights", weights.shape(), Shape{rows});

  if (hidden.requires_grad() && context.tape != nullptr) context.tape->require_open(hidden, op);

  RowLosses<B> losses({rows});
  const auto trained = trainable_of(head);
  const bool gradient = context.tape != nullptr && (hidden.requires_grad() || !trained.empty());
  TensorOf<B> dh = gradient && hidden.requires_grad() ? TensorOf<B>(hidden.shape()) : TensorOf<B>{};
  for_chunks(head, hidden.value(), weights, chunk, gradient, dh.data(), losses, row_pass);

  std::vector<double> per_row = losses.to_host();
  const auto w = weights.to_host();
  double total = 0;
  for (std::size_t r = 0; r < per_row.size(); ++r) total += static_cast<double>(w[r]) * per_row[r];
  const auto value = TensorOf<B>::full({}, static_cast<T>(total));
  if (!gradient) return {Variable<B>(value), std::move(per_row)};

  for (const auto* p : trained) ++p->open_losses;
  return {context.tape->record(
              op, value,
              [=](const TensorOf<B>& upstream) {
                for (const auto* p : trained) {
                  if (p->open_losses == 0)
                    fail<ValueError>(op, "the gradient of {} was cleared between the loss and backward()",
                                     p->name);
                  --p->open_losses;
                }
                const T u = upstream.item();
                if (u == T(1)) {
                  if (dh) pass_gradient(hidden, dh);
                  return;
                }
                StatisticTensor<B> rest(weights.shape());
                kernels::map(typename B::Device{}, Write::overwrite, rest.size(),
                             functors::Times{static_cast<double>(u - T(1))}, rest.data(), weights.data());
                TensorOf<B> more = dh ? TensorOf<B>(dh.shape()) : TensorOf<B>{};
                RowLosses<B> unused({rows});
                for_chunks(head, hidden.value(), rest, chunk, true, more.data(), unused, row_pass);
                if (!dh) return;
                kernels::map(typename B::Device{}, Write::accumulate, more.size(), functors::Identity{},
                             more.data(), std::as_const(dh).data());
                pass_gradient(hidden, more);
              }),
          std::move(per_row)};
}

}  // namespace detail

/// Sum over rows r of weights[r] * D(p_r || q_r): p from the teacher's hidden states (rows, teacher width), q
/// from the student's (rows, student width), each through its own head. `Divergence` as in
/// distill/divergences.hpp. The vocabularies may differ in length (padding): entries that only one side has
/// count as probability 0. The gradient goes to the student's hidden states and head; the teacher gets none.
/// Throws ShapeError where rows and widths do not fit, ValueError unless the temperature is above 0.
///
/// Definition: sum(weights * D(softmax(project(teacher)), softmax(project(student)))).
template <class Divergence, Backend B>
[[nodiscard]] HeadLoss<B> head_divergence(const Context<B>& context, const Divergence& divergence,
                                          const Head<B>& student, const Variable<B>& hidden,
                                          const Head<B>& teacher, const TensorOf<B>& teacher_hidden,
                                          const StatisticTensor<B>& weights,
                                          const HeadLossOptions& options = {},
                                          const LogitsObserver<B>& observe = {}) {
  using T = typename B::Scalar;
  if (teacher_hidden.rank() != 2 || teacher_hidden.shape()[1] != teacher.width() ||
      teacher_hidden.shape()[0] != hidden.shape()[0])
    fail<ShapeError>("head_divergence",
                     "teacher's hidden states {} for a head of width {} and {} student rows",
                     teacher_hidden.shape(), teacher.width(), hidden.shape()[0]);
  if (!(options.temperature > 0))
    fail<ValueError>("head_divergence", "temperature {}, expected > 0", options.temperature);
  const Index vs = student.vocabulary(), vt = teacher.vocabulary();
  const Index chunk = detail::chunk_of<B>(options, (vs + vt) * static_cast<Index>(sizeof(T)));
  const auto looked = std::make_shared<bool>(!observe);  // a second pass, in backward(), is not observed
  auto out = detail::head_loss<B>(
      context, "head_divergence", student, hidden, weights, chunk,
      [=](Index first, Index n, T* logits, const StatisticOf<B>* w, bool gradient, double* loss) {
        TensorOf<B> scratch({n, logits_stride<B>(vt)});  // the teacher's logits
        project(teacher, n, teacher_hidden.data() + first * teacher.width(), scratch.data());
        if (!*looked) observe(first, n, logits, std::as_const(scratch).data());
        kernels::row_loss(
            typename B::Device{}, divergence,
            {n, vs, vt, options.temperature, gradient, logits_stride<B>(vs), logits_stride<B>(vt)}, logits,
            scratch.data(), w, loss);
      });
  *looked = true;
  return out;
}

/// Sum over rows of weights[r] * -log softmax(project(hidden))[targets[r]]; ignored positions have weight 0.
/// Targets (rows) are token ids in [0, vocabulary), else ShapeError.
template <Backend B>
[[nodiscard]] HeadLoss<B> head_cross_entropy(const Context<B>& context, const Head<B>& head,
                                             const Variable<B>& hidden, const IndexTensor<B>& targets,
                                             const StatisticTensor<B>& weights,
                                             const HeadLossOptions& options = {}) {
  using T = typename B::Scalar;
  require_shape("head_cross_entropy", "targets", targets.shape(), Shape{hidden.shape()[0]});
  const Index v = head.vocabulary();
  kernels::require_indices(typename B::Device{}, "head_cross_entropy", "target", targets.size(),
                           targets.data(), v);
  return detail::head_loss(
      context, "head_cross_entropy", head, hidden, weights,
      detail::chunk_of<B>(options, v * static_cast<Index>(sizeof(T))),
      [=](Index first, Index n, T* logits, const StatisticOf<B>* w, bool gradient, double* loss) {
        kernels::cross_entropy(typename B::Device{}, n, v, logits, targets.data() + first, w, gradient, loss,
                               logits_stride<B>(v));
      });
}

}  // namespace retort
