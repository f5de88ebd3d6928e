#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "catch.hpp"
#include "numbers.hpp"
#include "retort/core/sequences.hpp"
#include "retort/io/safetensors_file.hpp"
#include "retort/models/any_model.hpp"

/// What transformers computes with its models, see tests/parity/models/make_model_fixtures.py.
namespace retort::test {

/// Every variant: a family and what its configurations may ask for.
inline const std::vector<std::string> model_variants{"gpt2",
                                                     "gpt2_untied",
                                                     "opt",
                                                     "opt_post_norm_projected",
                                                     "opt_no_bias",
                                                     "gptj",
                                                     "gptj_whole_head",
                                                     "llama",
                                                     "llama_head_dim_tied_biases",
                                                     "llama_linear",
                                                     "llama_llama3",
                                                     "t5",
                                                     "t5_v1_1_deep_decoder",
                                                     "t5_v1_1_deep_encoder"};

inline std::filesystem::path model_fixture(const std::string& variant) {
  return std::filesystem::path(RETORT_TESTS_DIR) / "parity" / "models" / variant;
}

/// What transformers says of a variant.
class ExpectedOfModel {
 public:
  explicit ExpectedOfModel(const std::string& variant)
      : ExpectedOfModel(model_fixture(variant) / "expected.safetensors") {}
  explicit ExpectedOfModel(const char* variant) : ExpectedOfModel(std::string(variant)) {}
  explicit ExpectedOfModel(const std::filesystem::path& file) : file_(file) {}

  [[nodiscard]] std::vector<double> numbers(const std::string& name) const {
    return file_.read<double>(name);
  }
  [[nodiscard]] std::vector<std::int32_t> ids(const std::string& name) const {
    return file_.read<std::int32_t>(name);
  }
  /// Sequences stored as all their tokens and their lengths.
  [[nodiscard]] Sequences sequences(const std::string& tokens, const std::string& lengths) const {
    const auto all = ids(tokens);
    Sequences out;
    std::size_t at = 0;
    for (const auto n : ids(lengths)) {
      out.push_back(std::span(all).subspan(at, static_cast<std::size_t>(n)));
      at += static_cast<std::size_t>(n);
    }
    return out;
  }
  [[nodiscard]] Sequences prompts() const { return sequences("prompts", "prompts.lengths"); }
  [[nodiscard]] Sequences responses() const { return sequences("responses", "responses.lengths"); }

 private:
  SafetensorsFile file_;
};

// Compiled once, in models_float.cpp:

/// The model of a folder.
AnyModel<Cpu<float>> load_model(const std::filesystem::path& folder);
/// Logits of all response tokens, one after the other.
std::vector<float> logits_of(const AnyModel<Cpu<float>>& model, const Sequences& prompts,
                             const Sequences& responses);
inline std::vector<float> logits_of(const AnyModel<Cpu<float>>& model, const ExpectedOfModel& expected) {
  return logits_of(model, expected.prompts(), expected.responses());
}
/// `count` tokens for every prompt, whatever they are.
Sequences greedy_tokens(const AnyModel<Cpu<float>>& model, const Sequences& prompts, Index count);
/// Some steps of AdamW.
void train(AnyModel<Cpu<float>>& model, const ExpectedOfModel& expected, int steps);

}  // namespace retort::test
