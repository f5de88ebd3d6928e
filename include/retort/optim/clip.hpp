#pragma once

#include <cmath>
#include <limits>
#include <utility>

#include "retort/autograd/parameter.hpp"
#include "retort/kernels/cpu/map.hpp"
#include "retort/kernels/cuda.hpp"

/// Clipping by the global norm (Pascanu et al. 2013): all gradients are scaled together, in the optimizer's
/// one pass over them, so clipping costs one reading of the gradients.
///
///   optimizer.step({.gradient_scale = clip_by_norm(parameters(model), 1.0).scale});
namespace retort {

/// The Euclidean norm of all gradients taken as one vector; parameters without a gradient count as zeros.
/// Does not depend on the number of threads. Throws NumericError, naming the first parameter whose gradient
/// has a NaN or an infinity, or is too large to be squared.
template <Backend B>
[[nodiscard]] double gradient_norm(const ParameterList<B>& parameters) {
  using T = typename B::Scalar;
  const typename B::Device device;
  std::vector<std::pair<const T*, Index>> gradients;
  std::vector<const Parameter<B>*> of;
  for (const auto* p : parameters) {
    if (!p->trainable || !p->has_grad) continue;
    gradients.emplace_back(std::as_const(p->grad).data(), p->grad.size());
    of.push_back(p);
  }
  double square = 0;
  const std::vector<double> squares = kernels::squared_norms(device, gradients);
  for (std::size_t i = 0; i < squares.size(); ++i) {
    if (!std::isfinite(squares[i]))
      fail<NumericError>("gradient_norm", "the gradient of {}, shape {}, {}", of[i]->name, of[i]->shape(),
                         kernels::all_finite(device, gradients[i].first, gradients[i].second)
                             ? "is so large that its norm overflows"
                             : "has a value that is not finite");
    square += squares[i];
  }
  return std::sqrt(square);
}

/// What clipping found.
struct ClippedNorm {
  double norm = 0;   ///< of the gradients as they are, for the log
  double scale = 1;  ///< what they must be multiplied with
};

/// The factor min(1, max_norm / norm) for `StepScale::gradient_scale`; the gradients themselves stay as they
/// are. `gradient_scale` is the scale that the step will use besides (1 / micro-batches, say): the norm is
/// taken after it, and the factor includes it. An infinite `max_norm` only measures. Throws ValueError unless
/// max_norm is positive, and what `gradient_norm` throws.
template <Backend B>
[[nodiscard]] ClippedNorm clip_by_norm(const ParameterList<B>& parameters, double max_norm,
                                       double gradient_scale = 1) {
  if (!(max_norm > 0)) fail<ValueError>("clip_by_norm", "max_norm is {}, must be positive", max_norm);
  const double norm = gradient_norm(parameters) * std::abs(gradient_scale);
  return {norm, norm > max_norm ? gradient_scale * (max_norm / norm) : gradient_scale};
}

}  // namespace retort
