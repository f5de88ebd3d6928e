#pragma once

#include <utility>

#include "generate/engine.hpp"
#include "retort/models/any_model.hpp"

namespace generator {

/// An engine with its model; the members are compiled in respond.cpp, once for each backend.
template <retort::Backend B>
class EngineOn final : public Engine {
 public:
  explicit EngineOn(retort::AnyModel<B> model, std::unique_ptr<EngineOn> draft = nullptr);

  [[nodiscard]] std::string family() const override;
  [[nodiscard]] Index vocabulary() const override;
  [[nodiscard]] Index parameters() const override { return parameters_; }
  [[nodiscard]] bool is_decoder() const override;
  [[nodiscard]] std::optional<Index> positions() const override;
  [[nodiscard]] const Engine* draft() const override { return draft_.get(); }
  [[nodiscard]] Responses respond(const std::vector<Request>& requests, const Settings& settings,
                                  const std::vector<std::int32_t>& end_tokens,
                                  const OnToken& on_token) const override;

 private:
  retort::AnyModel<B> model_;
  Index parameters_;
  std::unique_ptr<EngineOn> draft_;
};

}  // namespace generator
