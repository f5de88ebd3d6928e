#pragma once

#include <algorithm>
#include <concepts>
#include <span>
#include <vector>

#include "retort/core/philox.hpp"
#include "retort/generate/samplers.hpp"

/// The rule of speculative sampling (Leviathan et al. 2023, algorithm 1; Chen et al. 2023): a token proposed
/// from q becomes one drawn from p. It is accepted with probability min(1, p / q), and a rejected one is
/// replaced by a draw from norm(max(0, p - q)). Of all tokens 1 - TV(p, q) are accepted.
namespace retort {

/// Probability that a token is accepted which has probability `p` in the target and `q` > 0 where it was
/// proposed.
template <std::floating_point T>
[[nodiscard]] double acceptance(T p, T q) {
  return p >= q ? 1.0 : static_cast<double>(p) / static_cast<double>(q);
}

/// Weights (n) of the token that replaces a rejected one: max(0, p - q). Where rounding leaves none of them,
/// which can happen for p = q only, p itself.
template <Real T>
void replacement_weights(const T* p, const T* q, Index n, T* weights) {
  using P = kernels::cpu::Pack<T>;
  namespace cpu = kernels::cpu;
  cpu::for_packs<T>(n, [&](Index i, Index c) {
    cpu::store(max(cpu::load(p + i, c) - cpu::load(q + i, c), P(T(0))), weights + i, c);
  });
  if (std::all_of(weights, weights + n, [](T w) { return w == T(0); })) std::copy_n(p, n, weights);
}

/// The choices of speculative decoding, by counter-based random numbers: what is decided at position t of a
/// response uses block t of its sequence's key, one number each to propose, to accept and to draw from the
/// teacher. A proposal that was never judged may be drawn again with the same number later: no token of the
/// response has depended on it.
class RandomChoices {
 public:
  /// Sequence i draws from key.fork(ids[i]).
  RandomChoices(RandomKey key, std::span<const std::uint64_t> ids) {
    for (const auto id : ids) keys_.push_back(key.fork(id));
  }

  /// A token of the draft, with these weights; -1 if none is above 0.
  template <class T>
  [[nodiscard]] Index propose(std::size_t sequence, Index t, const T* weights, Index n) const {
    return detail::draw_weighted(weights, n, number(sequence, t, 0)).index;
  }
  /// Whether a proposal is accepted.
  [[nodiscard]] bool accept(std::size_t sequence, Index t, double probability) const {
    return number(sequence, t, 1) < probability;
  }
  /// A token of the teacher, with these weights; -1 if none is above 0.
  template <class T>
  [[nodiscard]] Index draw(std::size_t sequence, Index t, const T* weights, Index n) const {
    return detail::draw_weighted(weights, n, number(sequence, t, 2)).index;
  }

 private:
  std::vector<RandomKey> keys_;

  [[nodiscard]] double number(std::size_t sequence, Index t, std::uint64_t purpose) const {
    return keys_[sequence].uniform(4 * static_cast<std::uint64_t>(t) + purpose);
  }
};

}  // namespace retort
