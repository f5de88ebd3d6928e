#pragma once

#include <concepts>

#include "retort/kernels/cuda/runtime.hpp"
#include "retort/models/language_model.hpp"

namespace retort {

/// A LanguageModel whose `advance` waits for nothing, so that a GPU can be given a whole step of decoding at
/// once.
template <class M>
concept AsynchronousModel = LanguageModel<M> && M::advance_is_asynchronous;

namespace detail {

/// Steps of decoding. On a GPU a step with as many sequences as the one before is one CUDA graph.
template <LanguageModel M>
class DecodeStep {
 public:
  template <class F>
  void run([[maybe_unused]] Index sequences, F f) {
    if constexpr (AsynchronousModel<M> && !std::same_as<typename M::Backend::Device, CpuDevice>) {
      constexpr Index most =
          4096;  // sequences whose lengths and tokens are little enough to be copied in a graph
      const bool again = sequences == before_ && sequences <= most;
      before_ = sequences;
      if (again) return work_.run(f);
    }
    f();
  }

 private:
  struct Nothing {};
  std::conditional_t<std::same_as<typename M::Backend::Device, CpuDevice>, Nothing, cuda::RepeatedWork> work_;
  Index before_ = -1;
};

}  // namespace detail

}  // namespace retort
