#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "retort/autograd/freeze.hpp"
#include "retort/core/policy.hpp"
#include "retort/nn/linear.hpp"

/// Low-rank adaptation (LoRA, Hu et al. 2021): the weights of a model are frozen, and chosen linear layers
/// compute w x + alpha / rank * b a x with small matrices a and b that are trained instead.
///
///   add_lora(model, lora_sites(model, {"attention.qkv"}), {.rank = 8, .alpha = 16}, RandomKey{1});
///   ... train ...
///   merge_lora(model);   // an ordinary model again
namespace retort {

/// How large the adapters are.
struct LoraConfig {
  static constexpr const char* name = "lora";
  Index rank = 8;
  double alpha = 16;   ///< the product is scaled by alpha / rank
  double dropout = 0;  ///< of the adapters' input, while training

  [[nodiscard]] double scale() const { return alpha / static_cast<double>(rank); }
  [[nodiscard]] constexpr const char* problem() const {
    if (rank < 1) return "rank must be at least 1";
    return dropout >= 0 && dropout < 1 ? nullptr : "dropout must lie in [0, 1)";
  }
  template <class F>
  void each_field(F&& f) const {
    f("rank", rank), f("alpha", alpha), f("dropout", dropout);
  }
};

/// Where an adapter goes: a linear layer, or some of its rows. A projection to queries, keys and values in
/// one has up to three of them.
struct LoraSite {
  std::string layer;  ///< its name, e.g. `block.0.attention.qkv`
  Index first_row = 0;
  Index rows = 0;  ///< 0: all from `first_row` on

  friend bool operator==(const LoraSite&, const LoraSite&) = default;
};

/// Whether a target chooses a layer: it is the layer's name, or the end of it from a dot on.
[[nodiscard]] inline bool is_lora_target(std::string_view layer, std::string_view target) {
  return layer == target || (layer.size() > target.size() && layer.ends_with(target) &&
                             layer[layer.size() - target.size() - 1] == '.');
}

/// All linear layers that one of the targets chooses, `attention.qkv` or `ff.up` say. ValueError for a target
/// that chooses none, with the ends of names that there are.
template <class Model>
[[nodiscard]] std::vector<LoraSite> lora_sites(Model& model, const std::vector<std::string>& targets) {
  std::vector<LoraSite> sites;
  for (const auto& target : targets) {
    const auto before = sites.size();
    std::string ends;
    model.each_linear([&](nn::Linear<typename Model::Backend>& linear) {
      const std::string layer = linear.name();
      if (is_lora_target(layer, target) && std::ranges::find(sites, LoraSite{layer}) == sites.end())
        sites.push_back({layer});
      const std::string end = layer.substr(layer.rfind('.', layer.rfind('.') - 1) + 1);
      if (ends.find(end) == std::string::npos) ends += (ends.empty() ? "" : ", ") + end;
    });
    if (sites.size() == before)
      fail<ValueError>("lora", "no layer is called '{}', expected some of {}", target, ends);
  }
  return sites;
}

/// Puts an adapter at every site and freezes everything else. The model's outputs do not change by it: b is 0
/// at first. What the adapters begin with depends on `key` and their names alone. Throws ValueError for a
/// value out of range, a site that the model does not have, and rows that have an adapter already; the model
/// is then as it was.
template <class Model>
void add_lora(Model& model, std::span<const LoraSite> sites, const LoraConfig& config, RandomKey key) {
  using B = typename Model::Backend;
  check_policy(config);
  std::vector<std::pair<nn::Linear<B>*, nn::LowRank<B>>> added;
  for (const LoraSite& site : sites) {
    nn::Linear<B>* layer = nullptr;
    model.each_linear([&](nn::Linear<B>& linear) {
      if (linear.name() == site.layer) layer = &linear;
    });
    if (layer == nullptr) fail<ValueError>("lora", "there is no linear layer '{}'", site.layer);
    const Index out = layer->weight.shape()[0], rows = site.rows == 0 ? out - site.first_row : site.rows;
    if (site.first_row < 0 || rows < 1 || site.first_row + rows > out)
      fail<ValueError>("lora", "rows [{}, {}) of {}, which has {}", site.first_row, site.first_row + rows,
                       site.layer, out);
    const auto require_free = [&](const nn::LowRank<B>& other) {
      if (site.first_row < other.first_row + other.rows() && other.first_row < site.first_row + rows)
        fail<ValueError>("lora", "rows [{}, {}) of {} would have two adapters", site.first_row,
                         site.first_row + rows, site.layer);
    };
    for (const auto& other : layer->adapters) require_free(other);
    for (const auto& [at, other] : added)
      if (at == layer) require_free(other);
    const std::string name = rows == out ? site.layer : fmt::format("{}.rows_{}", site.layer, site.first_row);
    added.emplace_back(layer, nn::LowRank<B>(name, site.first_row, rows, layer->weight.shape()[1],
                                             config.rank, config.scale(), config.dropout, key));
  }
  model.each_parameter([](Parameter<B>& p) { p.trainable = false; });
  for (auto& [layer, adapter] : added) layer->adapters.push_back(std::move(adapter));
  model.each_linear([](nn::Linear<B>& linear) {
    for (auto& adapter : linear.adapters) adapter.a.trainable = adapter.b.trainable = true;
  });
}

/// Whether a model has adapters.
template <class Model>
[[nodiscard]] bool has_lora(Model& model) {
  bool found = false;
  model.each_linear(
      [&](nn::Linear<typename Model::Backend>& linear) { found = found || !linear.adapters.empty(); });
  return found;
}

/// Adds the adapters' products to the layers' weights and removes them: the same function, an ordinary model
/// again. What was frozen stays frozen. Optimizers of its parameters must not be used any more.
template <class Model>
void merge_lora(Model& model) {
  model.each_linear([](nn::Linear<typename Model::Backend>& linear) {
    for (const auto& adapter : linear.adapters) adapter.merge_into(linear.weight.value);
    linear.adapters.clear();
  });
}

}  // namespace retort
