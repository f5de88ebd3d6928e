#pragma once

#include <concepts>

#include "retort/kernels/cuda/recording.hpp"
#include "retort/models/language_model.hpp"

namespace retort {

/// A LanguageModel whose `advance` waits for nothing, so that a GPU can be given a whole step of decoding at
/// once.
template <class M>
concept AsynchronousModel = LanguageModel<M> && M::advance_is_asynchronous;

namespace detail {

/// Runs f, a step of decoding with models M for so many sequences: on a GPU as one CUDA graph, where the
/// models allow it and tokens and lengths are few enough.
template <LanguageModel... M>
void decode_step([[maybe_unused]] Index sequences, auto f) {
  if constexpr ((AsynchronousModel<M> && ...) &&
                !(std::same_as<typename M::Backend::Device, CpuDevice> || ...)) {
    constexpr Index most = 4096;
    if (sequences <= most) return cuda::as_graph(f);
  }
  f();
}

}  // namespace detail

}  // namespace retort
