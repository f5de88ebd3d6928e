#include "distill/model.hpp"

#include "retort/models/any_model.hpp"

namespace distill {

Model::Model(Any any) : any_(std::make_unique<Any>(std::move(any))) {}
Model::Model(Model&&) noexcept = default;
Model::~Model() = default;

const char* Model::family() const {
  return any_->family();
}
retort::Index Model::vocabulary() const {
  return any_->vocabulary();
}
retort::Head<Backend> Model::head() const {
  return any_->head();
}
retort::Variable<Backend> Model::hidden(retort::Context<Backend>& context, const retort::Sequences& prompts,
                                        const retort::Sequences& responses) const {
  return any_->hidden(context, prompts, responses);
}
retort::DecodeState<Backend> Model::start(const retort::Sequences& prompts, retort::Index room) const {
  return any_->start(prompts, room);
}
void Model::advance(retort::DecodeState<Backend>& state, std::span<const std::int32_t> tokens) const {
  any_->advance(state, tokens);
}
void Model::visit_parameters(const std::function<void(retort::Parameter<Backend>&)>& f) {
  any_->each_parameter(f);
}

}  // namespace distill
