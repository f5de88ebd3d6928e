#include "distill/model.hpp"

#include "retort/models/any_model.hpp"
#include "support/device.hpp"

namespace distill {

template <retort::Backend B>
Model<B>::Model(Any any) : any_(std::make_unique<Any>(std::move(any))) {}
template <retort::Backend B>
Model<B>::Model(Model&&) noexcept = default;
template <retort::Backend B>
Model<B>::~Model() = default;

template <retort::Backend B>
const char* Model<B>::family() const {
  return any_->family();
}
template <retort::Backend B>
retort::Index Model<B>::vocabulary() const {
  return any_->vocabulary();
}
template <retort::Backend B>
retort::Head<B> Model<B>::head() const {
  return any_->head();
}
template <retort::Backend B>
retort::Variable<B> Model<B>::hidden(retort::Context<B>& context, const retort::Sequences& prompts,
                                     const retort::Sequences& responses) const {
  return any_->hidden(context, prompts, responses);
}
template <retort::Backend B>
std::optional<retort::Index> Model<B>::positions() const {
  return any_->positions();
}
template <retort::Backend B>
retort::DecodeState<B> Model<B>::start(const retort::Sequences& prompts, retort::Index room) const {
  return any_->start(prompts, room);
}
template <retort::Backend B>
void Model<B>::advance(retort::DecodeState<B>& state, std::span<const std::int32_t> tokens) const {
  any_->advance(state, tokens);
}
template <retort::Backend B>
void Model<B>::visit_parameters(const std::function<void(retort::Parameter<B>&)>& f) {
  any_->each_parameter(f);
}

template class Model<support::CompiledBackend>;

}  // namespace distill
