#pragma once

#include <vector>

#include "retort/autograd/tape.hpp"
#include "retort/kernels/cpu/row_loss.hpp"

namespace retort {

/// Mean of -log softmax(logits)[target] over the rows whose target is not `ignore`; 0 if there is none.
/// logits (rows, vocabulary), targets (rows). Throws ShapeError for a target outside the vocabulary. Over a
/// large vocabulary use `head_cross_entropy` (ops/head_loss.hpp), which never has the logits whole in memory.
template <Backend B>
[[nodiscard]] Variable<B> cross_entropy(const Variable<B>& logits, const IndexTensor<B>& targets,
                                        std::int32_t ignore = -100) {
  using T = typename B::Scalar;
  const Index rows = logits.shape().rows(), v = logits.shape().last();
  require_shape("cross_entropy", "targets", targets.shape(), Shape{rows});
  std::vector<std::int32_t> ids = targets.to_host();
  Index counted = 0;
  for (const auto id : ids) {
    if (id == ignore) continue;
    if (id < 0 || id >= v) fail<ShapeError>("cross_entropy", "target {} is outside [0, {})", id, v);
    ++counted;
  }
  using S = StatisticOf<B>;
  std::vector<S> weight(ids.size());
  for (std::size_t r = 0; r < ids.size(); ++r) {
    weight[r] = ids[r] == ignore ? S(0) : S(1) / static_cast<S>(counted);
    if (ids[r] == ignore) ids[r] = 0;
  }
  const auto safe = IndexTensor<B>::from({rows}, ids);
  const auto weights = StatisticTensor<B>::from({rows}, weight);
  const bool wanted = logits.requires_grad();
  TensorOf<B> gradient = wanted ? logits.value().clone() : logits.value();  // without gradient only read
  Tensor<double, typename B::Device> losses({rows});
  kernels::cross_entropy(typename B::Device{}, rows, v, gradient.data(), safe.data(), weights.data(), wanted,
                         losses.data());
  const std::vector<double> loss = losses.to_host();
  double total = 0;
  for (std::size_t r = 0; r < loss.size(); ++r) total += static_cast<double>(weight[r]) * loss[r];
  return record(
      "cross_entropy", TensorOf<B>::full({}, static_cast<T>(total)),
      [=](const TensorOf<B>& upstream) {
        if (auto d = gradient_target(logits))
          kernels::map(typename B::Device{}, d.write, gradient.size(),
                       functors::Times{static_cast<double>(upstream.item())}, d.data, gradient.data());
      },
      logits);
}

}  // namespace retort
