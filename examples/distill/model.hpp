#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "retort/models/language_model.hpp"

namespace retort {
template <Backend Be>
class AnyModel;
}  // namespace retort

namespace distill {

/// A model of any family behind a pointer: a LanguageModel whose families are compiled in one file, so that
/// the training loop and the evaluation compile without them. Its members are in model.cpp, compiled once for
/// each backend, as all of the program that needs a backend is.
template <retort::Backend B>
class Model {
 public:
  using Backend = B;
  using Any = retort::AnyModel<Backend>;

  explicit Model(Any any);
  Model(const Model&) = delete;
  Model(Model&&) noexcept;
  ~Model();

  [[nodiscard]] Any& any() { return *any_; }
  [[nodiscard]] const Any& any() const { return *any_; }
  /// Name of the family.
  [[nodiscard]] const char* family() const;

  /// The most tokens of a decoder's prompt and response together; none of an encoder-decoder.
  [[nodiscard]] std::optional<retort::Index> positions() const;
  /// See LanguageModel.
  [[nodiscard]] retort::Index vocabulary() const;
  [[nodiscard]] retort::Head<Backend> head() const;
  [[nodiscard]] retort::Variable<Backend> hidden(retort::Context<Backend>& context,
                                                 const retort::Sequences& prompts,
                                                 const retort::Sequences& responses) const;
  [[nodiscard]] retort::DecodeState<Backend> start(const retort::Sequences& prompts,
                                                   retort::Index room) const;
  void advance(retort::DecodeState<Backend>& state, std::span<const std::int32_t> tokens) const;
  template <class F>
  void each_parameter(F&& f) {
    visit_parameters([&](retort::Parameter<Backend>& p) { f(p); });
  }

 private:
  std::unique_ptr<Any> any_;

  void visit_parameters(const std::function<void(retort::Parameter<Backend>&)>& f);
};

}  // namespace distill
