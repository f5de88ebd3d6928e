#pragma once

#include <vector>

#include "retort/kernels/cuda.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort::detail {

/// Rows of logits where the host can read and change them: the tensor's own memory on the CPU, a copy in the
/// backend's statistics' type from any other device.
template <Backend B>
class HostRows {
 public:
  using Number = StatisticOf<B>;

  /// The first `rows` rows of `logits` (rows, columns).
  void take(TensorOf<B>& logits, Index rows) {
    columns_ = logits.last();
    if constexpr (std::same_as<typename B::Device, CpuDevice>) {
      data_ = logits.data();
    } else {
      StatisticTensor<B> wide({rows, columns_});
      kernels::convert(typename B::Device{}, wide.size(), std::as_const(logits).data(), wide.data());
      copy_ = wide.to_host();
      data_ = copy_.data();
    }
  }
  [[nodiscard]] Number* row(Index r) { return data_ + r * columns_; }
  [[nodiscard]] const Number* row(Index r) const { return data_ + r * columns_; }

 private:
  std::vector<Number> copy_;
  Number* data_ = nullptr;
  Index columns_ = 0;
};

}  // namespace retort::detail
