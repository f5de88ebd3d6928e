#pragma once

#include <cmath>
#include <vector>

#include "retort/generate/generate.hpp"
#include "tiny_models.hpp"

/// All responses that a small model can give, with their probabilities: expectations over samples, exactly.
namespace retort::test {

inline constexpr std::int32_t enumeration_vocabulary = 4, enumeration_end = 1;

/// A decoder of 4 tokens.
template <class B>
Decoder<B> four_token_decoder(std::uint64_t seed) {
  auto config = tiny_decoder_config();
  config.vocabulary = enumeration_vocabulary;
  config.layers = 1;
  return Decoder<B>(config, {seed, 11});
}
/// An encoder-decoder of 4 tokens.
template <class B>
EncoderDecoder<B, T5v11> four_token_t5(std::uint64_t seed) {
  auto config = tiny_t5_config();
  config.vocabulary = enumeration_vocabulary;
  config.encoder_layers = config.decoder_layers = 1;
  return EncoderDecoder<B, T5v11>(config, {seed, 12});
}

/// Every response of at most `longest` tokens that ends with the end token or is cut there.
inline std::vector<Ids> all_responses(std::size_t longest) {
  std::vector<Ids> done, open{{}};
  for (std::size_t t = 0; t < longest; ++t) {
    std::vector<Ids> next;
    for (const Ids& before : open)
      for (std::int32_t v = 0; v < enumeration_vocabulary; ++v) {
        Ids y = before;
        y.push_back(v);
        (v == enumeration_end || t + 1 == longest ? done : next).push_back(y);
      }
    open = std::move(next);
  }
  return done;
}

/// One prompt with all its responses.
struct Enumeration {
  Batch batch;  ///< the prompt again and again, response i, id i

  explicit Enumeration(const Ids& prompt = {2, 3, 0}, std::size_t longest = 3) {
    for (const Ids& y : all_responses(longest))
      batch.push_back(prompt, y, static_cast<std::uint64_t>(batch.size()));
  }
  [[nodiscard]] int size() const { return batch.size(); }

  /// log-probability of each token under a model.
  template <class M>
  [[nodiscard]] std::vector<double> token_logs(const M& model) const {
    const auto logs = response_log_probabilities(model, batch.prompts, batch.responses);
    return {logs.begin(), logs.end()};
  }
  /// Sums over each response.
  [[nodiscard]] std::vector<double> sums(const std::vector<double>& of_tokens) const {
    std::vector<double> out;
    for (int i = 0; i < size(); ++i) {
      double sum = 0;
      for (auto t = batch.responses.offsets[static_cast<std::size_t>(i)];
           t < batch.responses.offsets[static_cast<std::size_t>(i) + 1]; ++t)
        sum += of_tokens[static_cast<std::size_t>(t)];
      out.push_back(sum);
    }
    return out;
  }
};

}  // namespace retort::test
