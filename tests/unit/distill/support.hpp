#pragma once

#include <cmath>
#include <vector>

#include "numbers.hpp"
#include "retort/distill/divergence.hpp"
#include "retort/ops/head_loss.hpp"

/// Divergences written down a second time, from their definitions, in long double; gradients by central
/// differences. What the library's row driver is compared with.
namespace retort::test {

using Real80 = long double;
using Row = std::vector<Real80>;

inline Real80 kl(const Row& a, const Row& b) {
  Real80 sum = 0;
  for (std::size_t v = 0; v < a.size(); ++v)
    if (a[v] > 0) sum += a[v] * (std::log(a[v]) - std::log(b[v]));
  return sum;
}

/// share a + (1 - share) b
inline Row blend(const Row& a, const Row& b, Real80 share) {
  Row m(a.size());
  for (std::size_t v = 0; v < a.size(); ++v) m[v] = share * a[v] + (1 - share) * b[v];
  return m;
}

// clang-format off
inline Real80 expected(const ForwardKl&, const Row& p, const Row& q) { return kl(p, q); }
inline Real80 expected(const ReverseKl&, const Row& p, const Row& q) { return kl(q, p); }
inline Real80 expected(const Jsd& d, const Row& p, const Row& q) {
  const Row m = blend(p, q, d.beta);
  return d.beta * kl(p, m) + (1 - d.beta) * kl(q, m);
}
inline Real80 expected(const NormalisedJsd& d, const Row& p, const Row& q) {
  return expected(Jsd{d.beta}, p, q) / (Real80(d.beta) * (1 - d.beta));
}
inline Real80 expected(const TotalVariation&, const Row& p, const Row& q) {
  Real80 sum = 0;
  for (std::size_t v = 0; v < p.size(); ++v) sum += std::abs(p[v] - q[v]);
  return sum / 2;
}
inline Real80 expected(const SkewForwardKl& d, const Row& p, const Row& q) { return kl(p, blend(p, q, d.alpha)); }
inline Real80 expected(const SkewReverseKl& d, const Row& p, const Row& q) { return kl(q, blend(q, p, d.alpha)); }
inline Real80 expected(const SymmetricKl&, const Row& p, const Row& q) { return (kl(p, q) + kl(q, p)) / 2; }
// clang-format on

/// softmax(z / temperature) of the first `vocabulary` entries.
template <class T>
Row softmax(const std::vector<T>& z, Real80 temperature, std::size_t vocabulary) {
  Row p(vocabulary);
  Real80 total = 0;
  for (std::size_t v = 0; v < vocabulary; ++v) total += p[v] = std::exp(Real80(z[v]) / temperature);
  for (Real80& x : p) x /= total;
  return p;
}

/// A divergence and its gradient to the student's logits.
struct Outcome {
  double value = 0;
  std::vector<double> gradient;
};

/// By definition: the vocabulary that both rows have, the rest of the student's has gradient 0.
template <class D>
Outcome by_definition(const D& divergence, const std::vector<double>& student,
                      const std::vector<double>& teacher, double temperature = 1) {
  const std::size_t common = std::min(student.size(), teacher.size());
  const Row p = softmax(teacher, temperature, common);
  const auto at = [&](const Row& z) { return expected(divergence, p, softmax(z, temperature, common)); };
  Row z(student.begin(), student.end());
  Outcome out{static_cast<double>(at(z)), {}};
  for (std::size_t v = 0; v < student.size(); ++v) {
    const Real80 kept = z[v], h = 1e-5L;
    z[v] = kept + h;
    const Real80 high = at(z);
    z[v] = kept - h;
    out.gradient.push_back(static_cast<double>((high - at(z)) / (2 * h)));
    z[v] = kept;
  }
  return out;
}

/// The library's: head_divergence with heads that are identities, so that hidden states are logits. As many
/// rows as weights, one after the other; the weighted sum of their divergences.
template <class T, class D>
Outcome by_library(const D& divergence, const std::vector<double>& student,
                   const std::vector<double>& teacher, double temperature = 1,
                   const std::vector<double>& weights = {1}) {
  using B = Cpu<T>;
  const Index rows = std::ssize(weights);
  const auto identity = [](Index n) {
    Parameter<B> w("head", {n, n});
    w.value = TensorOf<B>::zeros(w.shape());
    for (Index i = 0; i < n; ++i) w.value.data()[i * n + i] = 1;
    w.trainable = false;
    return w;
  };
  const auto tensor = [](const Shape& shape, const std::vector<double>& x) {
    return TensorOf<B>::from(shape, std::vector<T>(x.begin(), x.end()));
  };
  const Index vs = std::ssize(student) / rows, vt = std::ssize(teacher) / rows;
  const Parameter<B> ws = identity(vs), wt = identity(vt);
  Tape<B> tape;
  const Context<B> context{.tape = &tape};
  const Variable<B> logits = tape.leaf(tensor({rows, vs}, student));
  const auto loss =
      head_divergence(context, divergence, Head<B>{.weight = &ws}, logits, Head<B>{.weight = &wt},
                      tensor({rows, vt}, teacher), tensor({rows}, weights), {.temperature = temperature});
  tape.backward(loss.value);
  const auto gradient = tape.gradient(logits).to_host();
  return {static_cast<double>(loss.value.value().item()), {gradient.begin(), gradient.end()}};
}

/// Calls f with every shipped divergence, those with a parameter with several.
template <class F>
void each_divergence(F f) {
  f(ForwardKl{}), f(ReverseKl{}), f(TotalVariation{}), f(SymmetricKl{});
  for (const double b : {0.05, 0.1, 0.5, 0.9}) f(Jsd{b}), f(NormalisedJsd{b});
  for (const double a : {0.0, 0.1, 0.5}) f(SkewForwardKl{a}), f(SkewReverseKl{a});
}

}  // namespace retort::test
