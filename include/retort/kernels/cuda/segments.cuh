#pragma once

#include <algorithm>
#include <memory>

#include "retort/kernels/contract.hpp"
#include "retort/kernels/cuda/runtime.hpp"

/// Segments in device memory. A layout serves all layers of a pass, so its copy is made once and kept with
/// it.
namespace retort::kernels::cuda {

struct SegmentsView {
  const std::int32_t *begin, *length;
};

[[nodiscard]] inline Index longest(const Segments& s) {
  Index most = 0;
  for (const auto n : s.length) most = std::max<Index>(most, n);
  return most;
}

class SegmentsOnDevice {
 public:
  explicit SegmentsOnDevice(const Segments& s) : copy_(std::static_pointer_cast<const Copy>(s.on_device)) {
    if (copy_ != nullptr && copy_->begin == s.begin && copy_->length == s.length) return;
    copy_ = std::make_shared<const Copy>(s);
    s.on_device = copy_;
  }
  [[nodiscard]] SegmentsView view() const {
    const auto* p = copy_->memory.as<const std::int32_t>();
    return {p, p + copy_->begin.size()};
  }

 private:
  struct Copy {
    std::vector<std::int32_t> begin, length;  // what was copied
    retort::cuda::Scratch memory;

    explicit Copy(const Segments& s)
        : begin(s.begin),
          length(s.length),
          memory(2 * std::max<std::size_t>(1, s.count()) * sizeof(std::int32_t)) {
      retort::cuda::upload(begin.data(), memory.as<std::int32_t>(), begin.size() * sizeof(std::int32_t));
      retort::cuda::upload(length.data(), memory.as<std::int32_t>() + begin.size(),
                           length.size() * sizeof(std::int32_t));
    }
  };
  std::shared_ptr<const Copy> copy_;
};

}  // namespace retort::kernels::cuda
