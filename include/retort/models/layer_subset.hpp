#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/models/any_model.hpp"

/// Models made of some layers of another: the usual start of a student (DistilBERT, Sanh et al. 2019).
namespace retort {

/// Which layers are taken, by number, in the order they are to have; each stack without a list keeps all.
struct LayerSubset {
  std::vector<Index> layers;          ///< of a decoder, or of an encoder-decoder's decoder
  std::vector<Index> encoder_layers;  ///< of an encoder-decoder's encoder
};

namespace detail {

inline void require_layers(const std::vector<Index>& chosen, Index there, const char* stack) {
  for (const Index i : chosen)
    if (i < 0 || i >= there)
      fail<ValueError>("take_layers", "layer {} of the {}, which has {} (0 to {})", i, stack, there,
                       there - 1);
}

/// Copies weights by name; `<stack>block.<i>.` of the copy comes from `<stack>block.<chosen[i]>.`.
template <class Model>
void copy_layers(Model& from, Model& to,
                 const std::vector<std::pair<std::string, const std::vector<Index>*>>& stacks) {
  using B = typename Model::Backend;
  std::map<std::string, Parameter<B>*> by_name;
  for (auto* p : parameters(from)) by_name[p->name] = p;
  for (auto* p : parameters(to)) {
    std::string source = p->name;
    for (const auto& [prefix, chosen] : stacks)
      if (source.starts_with(prefix) && !chosen->empty()) {
        const auto end = source.find('.', prefix.size());
        const auto number = static_cast<std::size_t>(std::stoll(source.substr(prefix.size(), end)));
        source = prefix + std::to_string((*chosen)[number]) + source.substr(end);
        break;
      }
    const Parameter<B>& original = *by_name.at(source);
    memory::copy(typename B::Device{}, std::as_const(original.value).data(), p->value.data(),
                 p->value.size());
    p->trainable = original.trainable;
  }
}

}  // namespace detail

/// A decoder of some layers of another, everything else copied. Throws ValueError for a layer that is not
/// there, and for a list of encoder layers. A model with adapters must be merged first.
template <Backend B, class Family>
[[nodiscard]] Decoder<B, Family> take_layers(Decoder<B, Family>& model, const LayerSubset& subset) {
  if (!subset.encoder_layers.empty())
    fail<ValueError>("take_layers", "encoder layers were chosen, but a {} model has none", Family::name);
  detail::require_layers(subset.layers, model.config().layers, "decoder");
  auto config = model.config();
  if (!subset.layers.empty()) config.layers = std::ssize(subset.layers);
  Decoder<B, Family> out(config, std::nullopt);
  detail::copy_layers(model, out, {{"block.", &subset.layers}});
  return out;
}
/// The same of an encoder-decoder, whose stacks are cut separately.
template <Backend B, class Family>
[[nodiscard]] EncoderDecoder<B, Family> take_layers(EncoderDecoder<B, Family>& model,
                                                    const LayerSubset& subset) {
  detail::require_layers(subset.layers, model.config().decoder_layers, "decoder");
  detail::require_layers(subset.encoder_layers, model.config().encoder_layers, "encoder");
  auto config = model.config();
  if (!subset.layers.empty()) config.decoder_layers = std::ssize(subset.layers);
  if (!subset.encoder_layers.empty()) config.encoder_layers = std::ssize(subset.encoder_layers);
  EncoderDecoder<B, Family> out(config, std::nullopt);
  detail::copy_layers(model, out,
                      {{"decoder.block.", &subset.layers}, {"encoder.block.", &subset.encoder_layers}});
  return out;
}
template <Backend B>
[[nodiscard]] AnyModel<B> take_layers(AnyModel<B>& model, const LayerSubset& subset) {
  return model.visit([&](auto& typed) { return AnyModel<B>(take_layers(typed, subset)); });
}

}  // namespace retort
