#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "retort/core/sampling.hpp"
#include "retort/core/shape.hpp"

namespace retort {

/// Keeps the tokens with ids below `count`: for models whose vocabulary is padded beyond their tokenizer's,
/// or beyond that of another model that will read the sample. Comes first among filters.
struct FirstTokens {
  static constexpr const char* name = "first_tokens";
  Index count = std::numeric_limits<Index>::max();

  template <class T>
  void filter(T* logits, Index n, std::vector<Index>&) const {
    if (count < n) std::fill(logits + count, logits + n, -std::numeric_limits<T>::infinity());
  }
  bool add_to(SamplerSteps& steps) const {
    return steps.add(SamplerSteps::Kind::first_tokens, static_cast<double>(count));
  }
  [[nodiscard]] constexpr const char* problem() const {
    return count > 0 ? nullptr : "count must be at least 1";
  }
  template <class F>
  void each_field(F&& f) const {
    f("first_tokens", count);
  }
};

}  // namespace retort
