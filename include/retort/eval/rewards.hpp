#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "retort/core/batch.hpp"
#include "retort/core/scalar.hpp"
#include "retort/eval/answers.hpp"
#include "retort/eval/rouge.hpp"

/// Rewards of responses for RL + GKD: each is called with a batch and returns one number a response.
namespace retort {

/// 1 for a response of `low` to `high` tokens, falling by 1 over `slope` tokens outside, and never below 0.
struct LengthBand {
  Index low = 1, high = 64;
  double slope = 16;

  [[nodiscard]] std::vector<double> operator()(const Batch& batch) const {
    if (low > high || !(slope > 0))
      fail<ValueError>("length_band",
                       "a band from {} to {} with slope {}: expected low <= high and a slope above 0", low,
                       high, slope);
    std::vector<double> out;
    for (int i = 0; i < batch.size(); ++i) {
      const Index n = batch.responses.length(i), outside = n < low ? low - n : n > high ? n - high : 0;
      out.push_back(std::max(0.0, 1 - static_cast<double>(outside) / slope));
    }
    return out;
  }
};

/// A reward that compares the text of a response with the reference of its prompt: `references[id]`, by the
/// example's number in its data set.
class ReferenceReward {
 public:
  using Text = std::function<std::string(std::span<const std::int32_t>)>;
  using Compare = std::function<double(const std::string& reference, const std::string& response)>;

  /// `text` turns tokens into what is compared.
  ReferenceReward(std::vector<std::string> references, Text text, Compare compare)
      : references_(std::move(references)), text_(std::move(text)), compare_(std::move(compare)) {}

  [[nodiscard]] std::vector<double> operator()(const Batch& batch) const {
    std::vector<double> out;
    for (int i = 0; i < batch.size(); ++i) {
      const std::uint64_t id = batch.ids[static_cast<std::size_t>(i)];
      if (id >= references_.size())
        fail<ValueError>("reward", "there is no reference for example {}, only {}", id, references_.size());
      out.push_back(compare_(references_[id], text_(batch.responses[i])));
    }
    return out;
  }

 private:
  std::vector<std::string> references_;
  Text text_;
  Compare compare_;
};

/// 1 if the response's final answer is the reference's (see final_answer), else 0.
[[nodiscard]] inline ReferenceReward exact_answer_reward(std::vector<std::string> references,
                                                         ReferenceReward::Text text) {
  return {std::move(references), std::move(text),
          [](const std::string& reference, const std::string& response) {
            return same_answer(response, reference) ? 1.0 : 0.0;
          }};
}

/// ROUGE-L of the response to the reference.
[[nodiscard]] inline ReferenceReward rouge_l_reward(std::vector<std::string> references,
                                                    ReferenceReward::Text text) {
  return {std::move(references), std::move(text),
          [](const std::string& reference, const std::string& response) {
            return rouge_l_of_text(reference, response);
          }};
}

}  // namespace retort
