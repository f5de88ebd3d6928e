#pragma once

#include "expected_of_model.hpp"
#include "folder.hpp"
#include "retort/generate/beam_search.hpp"
#include "retort/io/hugging_face/folder.hpp"
#include "retort/optim/adamw.hpp"

/// Comparisons of loaded models with what transformers says of them, in float and in double.
namespace retort::test {

template <Backend B>
AnyModel<B> load_variant(const std::string& variant) {
  return HuggingFaceFolder(model_fixture(variant)).load<B>();
}

inline double largest_difference(const auto& a, const auto& b) {
  REQUIRE(std::size(a) == std::size(b));
  double worst = 0;
  for (std::size_t i = 0; i < std::size(a); ++i) {
    const double apart = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = apart <= worst ? worst : apart;  // NaN stays
  }
  return worst;
}

/// Mean cross-entropy of all response tokens; with a tape, its gradient goes to the parameters.
template <Backend B>
double loss_of(AnyModel<B>& model, const ExpectedOfModel& expected, bool gradient) {
  using T = typename B::Scalar;
  const Sequences responses = expected.responses();
  const Index n = responses.total();
  Tape<B> tape;
  Context<B> context{.tape = gradient ? &tape : nullptr};
  const auto hidden = model.hidden(context, expected.prompts(), responses);
  const auto weights = TensorOf<B>::full({n}, static_cast<T>(1.0 / static_cast<double>(n)));
  const auto loss =
      head_cross_entropy(context, model.head(), hidden, IndexTensor<B>::from({n}, responses.tokens), weights);
  if (gradient) tape.backward(loss.value);
  double sum = 0;
  for (const double x : loss.per_row) sum += x;
  return sum / static_cast<double>(n);
}

/// Logits of every response token.
template <Backend B>
void check_logits(const char* reference, double tolerance) {
  for (const auto& variant : model_variants) {
    CAPTURE(variant);
    const ExpectedOfModel expected(variant);
    const auto model = load_variant<B>(variant);
    CHECK(largest_difference(response_logits(model, expected.prompts(), expected.responses()).to_host(),
                             expected.numbers(reference)) <= tolerance);
  }
}

/// The gradient of every parameter: largest difference relative to the parameter's largest gradient. The file
/// of gradients is read as if it were one of weights.
template <Backend B>
void check_gradients_of_models(double tolerance) {
  for (const auto& variant : model_variants) {
    const ExpectedOfModel expected(variant);
    auto model = load_variant<B>(variant);
    AnyModel<B> right = model;
    right.visit([&]<class M>(M& typed) {
      using Format = hugging_face::Format<typename M::Family>;
      const Folder folder("gradients_");  // holds the gradients under the name of weights
      std::filesystem::copy_file(model_fixture(variant) / "gradients.safetensors",
                                 folder.path / "model.safetensors");
      const auto layout = Format::layout();
      hugging_face::load_weights<B>(
          hugging_face::Tensors(folder.path, layout), layout,
          hugging_face::placements<B>(layout, parameters(typed), hugging_face::query_width(typed.config())),
          true);
    });
    (void)loss_of(model, expected, true);
    const auto given = parameters(model), wanted = parameters(right);
    REQUIRE(given.size() == wanted.size());
    const auto scale_of = [](const Parameter<B>& p) {
      double scale = 0;
      for (const auto x : p.value.to_host()) scale = std::max(scale, std::abs(static_cast<double>(x)));
      return scale;
    };
    double of_model = 0;
    for (const auto* p : wanted) of_model = std::max(of_model, scale_of(*p));
    for (std::size_t i = 0; i < given.size(); ++i) {
      CAPTURE(variant, given[i]->name);
      const auto w = wanted[i]->value.to_host();
      REQUIRE(given[i]->has_grad);
      // A key's bias changes no attention weight: its gradient is 0, or what rounding
      // leaves of larger ones.
      const double largest = std::max(scale_of(*wanted[i]), 1e-3 * std::min(1.0, of_model));
      CHECK(largest_difference(given[i]->grad.to_host(), w) / largest <= tolerance);
    }
  }
}

/// The losses before and during 10 steps of AdamW.
template <Backend B>
void check_training(double tolerance) {
  for (const auto& variant : model_variants) {
    CAPTURE(variant);
    const ExpectedOfModel expected(variant);
    auto model = load_variant<B>(variant);
    auto optimizer =
        AdamW{.learning_rate = 5e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.05}.on(
            parameters(model));
    std::vector<double> losses;
    for (int step = 0; step <= 10; ++step) {
      losses.push_back(loss_of(model, expected, true));
      optimizer.step({});
    }
    const auto right = expected.numbers("losses");
    CHECK(largest_difference(losses, right) <= tolerance);
    CHECK(right.back() < right.front() - 0.5);
  }
}

/// 24 greedy tokens of every prompt.
template <Backend B>
void check_greedy() {
  for (const auto& variant : model_variants) {
    CAPTURE(variant);
    const ExpectedOfModel expected(variant);
    const std::vector<std::uint64_t> ids{0, 1, 2};
    const auto found = generate(load_variant<B>(variant), expected.prompts(), ids, Greedy{},
                                {.max_tokens = 24, .end_token = -1});
    CHECK(found.responses.tokens == expected.ids("greedy"));
  }
}

/// All four hypotheses of four beams, under two penalties and two rules of stopping.
template <Backend B>
void check_beams(double tolerance) {
  for (const auto& variant : model_variants) {
    const ExpectedOfModel expected(variant);
    const auto model = load_variant<B>(variant);
    for (const double power : {0.0, 1.0})
      for (const auto& [rule, stop] : {std::pair{"exact", BeamStop::exact}, {"current", BeamStop::current}}) {
        CAPTURE(variant, power, rule);
        const std::string name = fmt::format("beam.{:g}.{}.", power, rule);
        const auto found = beam_search(
            model, expected.prompts(),
            {.beams = 4, .max_tokens = 12, .end_token = expected.ids("beam.end")[0], .stop = stop},
            PowerPenalty{power});
        Sequences tokens;
        std::vector<double> scores;
        for (const auto& list : found)
          for (const auto& hypothesis : list) {
            tokens.push_back(hypothesis.tokens);
            scores.push_back(hypothesis.score);
          }
        CHECK(tokens == expected.sequences(name + "tokens", name + "lengths"));
        CHECK(largest_difference(scores, expected.numbers(name + "scores")) <= tolerance);
      }
  }
}

}  // namespace retort::test
