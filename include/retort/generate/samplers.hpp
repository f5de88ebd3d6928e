#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <tuple>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/core/sampling.hpp"
#include "retort/kernels/cpu/row.hpp"

/// Sampling policies: how a next token is chosen from a row of logits. A filter changes the logits in place
/// (-inf: never drawn); filters compose in the order given, by convention temperature, then top-k, then
/// top-p. `filter(logits, n, scratch)` gets one row of n logits and a vector to reuse for ids; `problem()` is
/// nullptr, or what is wrong with the values; `each_field(f)` names them for the run's log; `add_to(steps)`,
/// which a sampler need not have, describes it to a device that draws by itself (others copy logits to the
/// host).
namespace retort {

/// A sampler or filter that can say what it does as numbers.
template <class F>
concept DescribedSampler = requires(const F f, SamplerSteps steps) {
  { f.add_to(steps) } -> std::same_as<bool>;
};

/// The most probable token; of equals the one with the lowest id. Draws no random number.
struct Greedy {
  static constexpr const char* name = "greedy";
  template <class T>
  void filter(T*, Index, std::vector<Index>&) const {}
  bool add_to(SamplerSteps& steps) const { return steps.takes_highest = true; }
  template <class F>
  void each_field(F&&) const {}
};

/// Divides the logits by `value` > 0.
struct Temperature {
  static constexpr const char* name = "temperature";
  double value = 1;

  template <class T>
  void filter(T* logits, Index n, std::vector<Index>&) const {
    if (value == 1) return;
    const kernels::cpu::Pack<T> inverse(static_cast<T>(1 / value));
    kernels::cpu::for_packs<T>(n, [&](Index i, Index c) {
      kernels::cpu::store(kernels::cpu::load(logits + i, c) * inverse, logits + i, c);
    });
  }
  bool add_to(SamplerSteps& steps) const { return steps.add(SamplerSteps::Kind::temperature, value); }
  [[nodiscard]] constexpr const char* problem() const {
    return value > 0 && value <= std::numeric_limits<double>::max()
               ? nullptr
               : "the value must be a number above 0 (Greedy is the limit at 0)";
  }
  template <class F>
  void each_field(F&& f) const {
    f("temperature", value);
  }
};

namespace detail {

/// More probable first; of equals the lower id.
template <class T>
auto by_probability(const T* logits) {
  return [logits](Index a, Index b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); };
}

/// Sets everything but `kept` ids to -inf.
template <class T>
void keep_only(T* logits, Index n, const Index* kept, Index count) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = logits[kept[i]];
  std::fill_n(logits, n, -std::numeric_limits<T>::infinity());
  for (Index i = 0; i < count; ++i) logits[kept[i]] = values[static_cast<std::size_t>(i)];
}

}  // namespace detail

/// Keeps the k most probable tokens (Fan et al. 2018); 0 keeps all.
struct TopK {
  static constexpr const char* name = "top_k";
  Index k = 0;  ///< how many are kept; 0: all

  template <class T>
  void filter(T* logits, Index n, std::vector<Index>& ids) const {
    if (k <= 0 || k >= n) return;
    ids.resize(static_cast<std::size_t>(n));
    for (Index i = 0; i < n; ++i) ids[static_cast<std::size_t>(i)] = i;
    std::nth_element(ids.begin(), ids.begin() + (k - 1), ids.end(), detail::by_probability(logits));
    detail::keep_only(logits, n, ids.data(), k);
  }
  bool add_to(SamplerSteps& steps) const {
    return steps.add(SamplerSteps::Kind::top_k, static_cast<double>(k));
  }
  [[nodiscard]] constexpr const char* problem() const { return k >= 0 ? nullptr : "k must be at least 0"; }
  template <class F>
  void each_field(F&& f) const {
    f("top_k", k);
  }
};

/// Keeps the smallest set of most probable tokens whose probability reaches p (Holtzman et al. 2020); 1 keeps
/// all.
struct TopP {
  static constexpr const char* name = "top_p";
  double p = 1;  ///< probability to reach, above 0; 1: all

  template <class T>
  void filter(T* logits, Index n, std::vector<Index>& heap) const {
    if (p >= 1) return;
    const double normaliser = static_cast<double>(kernels::cpu::log_sum_exp(logits, n));
    heap.clear();
    for (Index i = 0; i < n; ++i)
      if (logits[i] > -std::numeric_limits<T>::infinity()) heap.push_back(i);
    const auto more = detail::by_probability(logits);
    const auto less = [&](Index a, Index b) { return more(b, a); };
    std::make_heap(heap.begin(), heap.end(),
                   less);  // the most probable is popped first; nothing is sorted beyond p
    auto end = heap.end();
    double reached = 0;
    while (end != heap.begin() && reached < p) {
      std::pop_heap(heap.begin(), end, less);
      --end;
      reached += std::exp(static_cast<double>(logits[*end]) - normaliser);
    }
    detail::keep_only(logits, n, heap.data() + (end - heap.begin()), heap.end() - end);
  }
  bool add_to(SamplerSteps& steps) const { return steps.add(SamplerSteps::Kind::top_p, p); }
  [[nodiscard]] constexpr const char* problem() const {
    return p > 0 && p <= 1 ? nullptr : "p must lie in (0, 1]";
  }
  template <class F>
  void each_field(F&& f) const {
    f("top_p", p);
  }
};

/// Filters one after the other: `Filters{Temperature{0.8}, TopK{50}, TopP{0.9}}`.
template <class... F>
struct Filters {
  static_assert(!(std::same_as<F, Greedy> || ...), "Greedy is no filter: use it alone, or TopK{1}");
  static constexpr const char* name = "filters";
  std::tuple<F...> filters;

  Filters() = default;
  explicit Filters(F... f) : filters(f...) {}

  template <class T>
  void filter(T* logits, Index n, std::vector<Index>& scratch) const {
    std::apply([&](const auto&... f) { (f.filter(logits, n, scratch), ...); }, filters);
  }
  bool add_to(SamplerSteps& steps) const requires(DescribedSampler<F>&&...) {
    return std::apply([&](const auto&... f) { return (f.add_to(steps) && ...); }, filters);
  }
  [[nodiscard]] constexpr const char* problem() const {
    const char* first = nullptr;
    const auto ask = [&](const auto& f) {
      if constexpr (requires { f.problem(); })
        if (first == nullptr) first = f.problem();
    };
    std::apply([&](const auto&... f) { (ask(f), ...); }, filters);
    return first;
  }
  template <class Visit>
  void each_field(Visit&& visit) const {
    const auto show = [&](const auto& f) {
      if constexpr (requires { f.each_field(visit); }) f.each_field(visit);
    };
    std::apply([&](const auto&... f) { (show(f), ...); }, filters);
  }
};

/// A sampling policy: filters a row of logits in place; `Greedy` then takes the highest, all others draw.
template <class S>
concept Sampler = requires(const S s, float* row, Index n, std::vector<Index>& scratch) {
  {s.filter(row, n, scratch)};
};

namespace detail {

/// Whether a sampler takes the highest logit: `Greedy` always, one that chooses at run time by
/// `takes_highest()`.
template <Sampler S>
[[nodiscard]] bool takes_highest(const S& sampler) {
  if constexpr (requires { sampler.takes_highest(); })
    return sampler.takes_highest();
  else
    return std::same_as<S, Greedy>;
}

}  // namespace detail

namespace detail {

/// What is drawn of a row: an index and its share of the row's sum.
struct WeightedDraw {
  Index index = -1;  ///< -1: no weight is above 0
  double share = 0;
};

/// The first index at which the cumulative weight exceeds u times the sum, for `u` in (0, 1).
template <class T>
[[nodiscard]] WeightedDraw draw_weighted(const T* weights, Index n, double u) {
  double total = 0;
  for (Index i = 0; i < n; ++i) total += static_cast<double>(weights[i]);
  double reached = 0;
  WeightedDraw drawn;
  for (Index i = 0; i < n; ++i) {
    if (!(weights[i] > T(0))) continue;
    drawn.index = i;  // rounding at the end leaves the last possible token
    reached += static_cast<double>(weights[i]);
    if (reached > u * total) break;
  }
  if (drawn.index >= 0) drawn.share = static_cast<double>(weights[drawn.index]) / total;
  return drawn;
}

/// Turns a row of logits into the probabilities that a sampler draws with: filters, then softmax. `Greedy`
/// makes the highest logit's 1 and all others 0. No probability is above 0 if the logits are NaN, infinite or
/// all -inf.
template <Sampler S, class T>
void to_probabilities(const S& sampler, T* logits, Index n, std::vector<Index>& scratch) {
  if (takes_highest(sampler)) {
    const bool finite = std::isfinite(kernels::cpu::row_max(logits, n));
    const Index highest = std::max_element(logits, logits + n) - logits;
    std::fill_n(logits, n, T(0));
    if (finite) logits[highest] = T(1);
    return;
  }
  sampler.filter(logits, n, scratch);
  const T shift = kernels::cpu::log_sum_exp(logits, n);
  kernels::cpu::for_packs<T>(n, [&](Index i, Index c) {
    using P = kernels::cpu::Pack<T>;
    kernels::cpu::store(exp(kernels::cpu::load(logits + i, c) - P(shift)), logits + i, c);
  });
}

}  // namespace detail

namespace detail {

/// NumericError for what a device reports instead of a token: -1, no number; -2, nothing left by the filters.
inline void require_drawn(const DrawnToken& drawn) {
  if (drawn.token == -1) fail<NumericError>("draw_token", "the logits are NaN, infinite or all -inf");
  if (drawn.token < -1) fail<NumericError>("draw_token", "the sampler left no token to draw");
}

}  // namespace detail

/// Chooses a token from `logits` (n), which are changed, with the uniform number `u` in (0, 1): the first
/// token at which the cumulative probability, in the order of ids, exceeds u. Throws NumericError if no token
/// can be chosen.
template <Sampler S, class T>
[[nodiscard]] DrawnToken draw_token(const S& sampler, T* logits, Index n, double u,
                                    std::vector<Index>& scratch) {
  const auto log_q = kernels::cpu::log_normaliser(logits, n);
  if (std::isnan(log_q.rest)) fail<NumericError>("draw_token", "the logits are NaN, infinite or all -inf");
  DrawnToken drawn;
  if (detail::takes_highest(sampler)) {
    drawn.token = static_cast<std::int32_t>(std::max_element(logits, logits + n) - logits);
    drawn.log_probability = static_cast<double>(log_q(logits[drawn.token]));
    return drawn;
  }
  const std::vector<T> raw(logits, logits + n);
  detail::to_probabilities(sampler, logits, n, scratch);
  const auto [token, share] = detail::draw_weighted(logits, n, u);
  if (token < 0) fail<NumericError>("draw_token", "the sampler left no token to draw");
  drawn.token = static_cast<std::int32_t>(token);
  drawn.log_probability = static_cast<double>(log_q(raw[static_cast<std::size_t>(token)]));
  drawn.log_draw = std::log(share);
  return drawn;
}

}  // namespace retort
