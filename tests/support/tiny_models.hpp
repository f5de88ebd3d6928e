#pragma once

#include <vector>

#include "numbers.hpp"
#include "retort/core/batch.hpp"
#include "retort/models/decoder.hpp"
#include "retort/models/encoder_decoder.hpp"

/// Models of a few hundred weights, with weights large enough that no part of them is negligible.
namespace retort::test {

using Ids = std::vector<std::int32_t>;

inline Sequences sequences(const std::vector<Ids>& rows) {
  Sequences out;
  for (const Ids& row : rows) out.push_back(row);
  return out;
}

inline Ids list(std::span<const std::int32_t> tokens) {
  return {tokens.begin(), tokens.end()};
}

/// 11 tokens, 2 layers, 3 heads.
inline DecoderConfig tiny_decoder_config() {
  return {.vocabulary = 11,
          .positions = 24,
          .width = 12,
          .layers = 2,
          .heads = 3,
          .hidden = 20,
          .init_deviation = 0.5};
}

/// 11 tokens, encoder of 2 and decoder of 3 layers, 2 heads of 5 (so heads * head_width is not the width).
inline EncoderDecoderConfig tiny_t5_config() {
  return {.vocabulary = 11,
          .width = 12,
          .encoder_layers = 2,
          .decoder_layers = 3,
          .heads = 2,
          .head_width = 5,
          .hidden = 20,
          .buckets = 8,
          .max_distance = 6};
}

template <class B>
Decoder<B> tiny_decoder(std::uint64_t seed, DecoderConfig config = tiny_decoder_config()) {
  return Decoder<B>(config, {seed, 1});
}
template <class B, class Family = T5>
EncoderDecoder<B, Family> tiny_t5(std::uint64_t seed, EncoderDecoderConfig config = tiny_t5_config()) {
  return EncoderDecoder<B, Family>(config, {seed, 2});
}

/// `size` examples with prompts of 1 to 4 and responses of 1 to 5 tokens, all in [1, 11).
inline Batch tiny_batch(int size, std::uint64_t stream = 1) {
  Batch batch;
  for (int i = 0; i < size; ++i) {
    const auto numbers = indices(16, 10, 1000 * stream + static_cast<std::uint64_t>(i));
    Ids prompt, response;
    for (int t = 0; t <= numbers[0] % 4; ++t) prompt.push_back(1 + numbers[static_cast<std::size_t>(t + 1)]);
    for (int t = 0; t <= numbers[5] % 5; ++t)
      response.push_back(1 + numbers[static_cast<std::size_t>(t + 6)]);
    batch.push_back(prompt, response, static_cast<std::uint64_t>(i));
  }
  return batch;
}

/// All gradients one after the other, zeros where there is none.
template <class B>
std::vector<double> gradients(const ParameterList<B>& parameters) {
  std::vector<double> all;
  for (const auto* p : parameters) {
    if (!p->has_grad) {
      all.insert(all.end(), static_cast<std::size_t>(p->value.size()), 0.0);
      continue;
    }
    for (const auto g : p->grad.to_host()) all.push_back(static_cast<double>(g));
  }
  return all;
}

/// All weights one after the other.
template <class B>
std::vector<typename B::Scalar> weights(const ParameterList<B>& parameters) {
  std::vector<typename B::Scalar> all;
  for (const auto* p : parameters)
    for (const auto w : p->value.to_host()) all.push_back(w);
  return all;
}

/// Largest difference of two vectors relative to the largest element of the second.
template <class A, class B>
double relative_difference(const A& a, const B& b) {
  if (std::size(a) != std::size(b)) return HUGE_VAL;
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < std::size(a); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::isnan(d) ? HUGE_VAL : std::max(worst, d);
    scale = std::max(scale, std::abs(static_cast<double>(b[i])));
  }
  return worst == 0 ? 0 : worst / scale;
}

}  // namespace retort::test
