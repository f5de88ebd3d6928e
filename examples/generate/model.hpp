#pragma once

#include <utility>

#include "generate/engine.hpp"
#include "retort/models/any_model.hpp"

namespace generator {

/// An engine with its model; the members are compiled in respond.cpp, once for each backend.
template <retort::Backend B>
class EngineOn final : public Engine {
 public:
  explicit EngineOn(retort::AnyModel<B> model);

  [[nodiscard]] std::string family() const override;
  [[nodiscard]] Index vocabulary() const override;
  [[nodiscard]] Index parameters() const override { return parameters_; }
  [[nodiscard]] bool is_decoder() const override;
  [[nodiscard]] std::optional<Index> positions() const override;
  [[nodiscard]] std::vector<std::vector<Response>> respond(const std::vector<Request>& requests,
                                                           const Settings& settings,
                                                           const std::vector<std::int32_t>& end_tokens,
                                                           const OnToken& on_token) const override;

 private:
  retort::AnyModel<B> model_;
  Index parameters_;
};

}  // namespace generator
