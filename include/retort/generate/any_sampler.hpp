#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "retort/generate/samplers.hpp"

namespace retort {

/// A sampler chosen at run time: the most probable token, or a draw through temperature, top-k and top-p,
/// each of which may keep all. For programs with flags: decoding is compiled once.
///
///   AnySampler sampler = Greedy{};
///   if (temperature) sampler = Filters{Temperature{*temperature}, TopK{k}, TopP{p}};
class AnySampler {
 public:
  static constexpr const char* name = "any_sampler";
  using Draw = Filters<Temperature, TopK, TopP>;

  AnySampler(Greedy = {}) {}
  AnySampler(Draw draw) : draw_(std::move(draw)) {}

  [[nodiscard]] bool takes_highest() const { return !draw_; }

  template <class T>
  void filter(T* logits, Index n, std::vector<Index>& scratch) const {
    if (draw_) draw_->filter(logits, n, scratch);
  }
  bool add_to(SamplerSteps& steps) const { return draw_ ? draw_->add_to(steps) : Greedy{}.add_to(steps); }
  [[nodiscard]] const char* problem() const { return draw_ ? draw_->problem() : nullptr; }
  template <class F>
  void each_field(F&& f) const {
    if (draw_) draw_->each_field(f);
  }

 private:
  std::optional<Draw> draw_;
};

}  // namespace retort
