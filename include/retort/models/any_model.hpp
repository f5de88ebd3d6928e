#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "retort/models/decoder.hpp"
#include "retort/models/encoder_decoder.hpp"

namespace retort {

/// A model of any of the library's families, chosen at run time: what a folder of weights turns out to hold.
/// It is a LanguageModel itself, so that a loss, a sampler or a training loop is compiled once for all of
/// them; the choice is made once a call, never inside a layer.
template <Backend Be>
class AnyModel {
 public:
  using Backend = Be;
  using B = Be;
  static constexpr bool advance_is_asynchronous = true;  ///< see AsynchronousModel
  using Choice = std::variant<Decoder<B, Gpt2>, Decoder<B, Opt>, Decoder<B, GptJ>, Decoder<B, Llama>,
                              EncoderDecoder<B, T5>, EncoderDecoder<B, T5v11>>;

  /// Any of the models.
  template <class Model>
  requires(std::constructible_from<Choice, Model> && !std::same_as<std::decay_t<Model>, AnyModel>)
      AnyModel(Model&& model)
      : choice_(std::forward<Model>(model)) {}

  /// f(model), the model with its type.
  template <class F>
  decltype(auto) visit(F&& f) {
    return std::visit(std::forward<F>(f), choice_);
  }
  template <class F>
  decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), choice_);
  }

  /// Name of the family, e.g. `llama`.
  [[nodiscard]] const char* family() const {
    return visit([]<class M>(const M&) { return M::Family::name; });
  }

  /// See `positions_of`.
  [[nodiscard]] std::optional<Index> positions() const {
    return visit([](const auto& m) { return positions_of(m); });
  }
  /// See LanguageModel.
  [[nodiscard]] Index vocabulary() const {
    return visit([](const auto& m) { return m.vocabulary(); });
  }
  [[nodiscard]] Head<B> head() const {
    return visit([](const auto& m) { return m.head(); });
  }
  [[nodiscard]] Variable<B> hidden(Context<B>& context, const Sequences& prompts,
                                   const Sequences& responses) const {
    return visit([&](const auto& m) { return m.hidden(context, prompts, responses); });
  }
  [[nodiscard]] DecodeState<B> start(const Sequences& prompts, Index room) const {
    return visit([&](const auto& m) { return m.start(prompts, room); });
  }
  void advance(DecodeState<B>& state, std::span<const std::int32_t> tokens) const {
    visit([&](const auto& m) { m.advance(state, tokens); });
  }
  /// See ExtendableModel.
  [[nodiscard]] TensorOf<B> extend(DecodeState<B>& state, const Sequences& tokens) const {
    return visit([&](const auto& m) { return m.extend(state, tokens); });
  }
  template <class F>
  void each_parameter(F&& f) {
    visit([&](auto& m) { m.each_parameter(f); });
  }
  /// Calls f with every linear layer.
  template <class F>
  void each_linear(F&& f) {
    visit([&](auto& m) { m.each_linear(f); });
  }

 private:
  Choice choice_;
};

}  // namespace retort
