#pragma once

#include <fmt/ranges.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>

#include "retort/io/hugging_face/gpt2.hpp"
#include "retort/io/hugging_face/gptj.hpp"
#include "retort/io/hugging_face/llama.hpp"
#include "retort/io/hugging_face/load_weights.hpp"
#include "retort/io/hugging_face/opt.hpp"
#include "retort/io/hugging_face/t5.hpp"
#include "retort/models/any_model.hpp"

namespace retort {

namespace hugging_face::detail {

/// About as many weights as a configuration asks for: what a file must have for it to be believed.
template <class Model>
[[nodiscard]] double least_weights(const DecoderConfig& given) {
  const DecoderConfig c = given.resolved();
  const auto d = [](Index n) { return static_cast<double>(n); };
  const double inner = d(c.head_width) * d(2 * c.heads + 2 * c.kv_heads);
  const double positions = std::same_as<typename Model::Family::template Positions<typename Model::B>,
                                        nn::NoPositions<typename Model::B>>
                               ? 0
                               : d(c.positions) * d(c.width);
  return d(c.vocabulary) * d(c.embedding_width) + positions +
         d(c.layers) * d(c.width) * (inner + 2 * d(c.hidden));
}
template <class Model>
[[nodiscard]] double least_weights(const EncoderDecoderConfig& c) {
  const auto d = [](Index n) { return static_cast<double>(n); };
  const double inner = 4 * d(c.head_width) * d(c.heads);
  return d(c.width) * (d(c.vocabulary) + (d(c.encoder_layers) + 2 * d(c.decoder_layers)) * inner +
                       (d(c.encoder_layers) + d(c.decoder_layers)) * 2 * d(c.hidden)) +
         d(c.buckets) * d(c.heads);
}

}  // namespace hugging_face::detail

/// A folder as transformers' `save_pretrained` writes it: `config.json` and `model.safetensors`, or shards
/// with an index. Opening it reads `config.json` and, if there is one, `generation_config.json`; whatever is
/// wrong is a FileError that names file and field.
class HuggingFaceFolder {
 public:
  explicit HuggingFaceFolder(std::filesystem::path path)
      : path_(std::move(path)), config_(path_ / "config.json") {
    config_.require("quantization_config", nullptr);  // weights packed in some way of their own
    // The tensors have a type each, and that counts; a name that is none is damage all the same.
    (void)config_.text({"dtype", "torch_dtype"}, "float32",
                       {"float32", "bfloat16", "float16", "float64", "float", "half", "double", "auto"});
    if (std::filesystem::exists(path_ / "generation_config.json"))
      generation_.emplace(path_ / "generation_config.json");
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// All of config.json, for what the library does not read itself: token ids, for example.
  [[nodiscard]] const nlohmann::json& config() const { return config_.json(); }

  /// Whether the folder holds a model of this type, e.g. `Decoder<B, Llama>`.
  template <class Model>
  [[nodiscard]] bool holds() const {
    using Format = hugging_face::Format<typename Model::Family>;
    return model_type() == Format::model_type && Format::matches(config_);
  }

  /// The model's configuration, as config.json has it; but the token that a decoder of an encoder-decoder
  /// starts with is that of generation_config.json where it names one, as in transformers' generate(). What
  /// is generated and what is trained on begin alike here; transformers' loss always starts with
  /// config.json's.
  template <class Model>
  [[nodiscard]] typename Model::Config config_of() const {
    auto config = hugging_face::Format<typename Model::Family>::read(config_);
    // What GPT2Config and GPTJConfig write where nobody chose: small models made for tests often keep it.
    const Index unchosen = model_type() == "gpt2" || model_type() == "gptj" ? 50256 : -1;
    config_.require_ids("bos_token_id", config.vocabulary, unchosen);
    for (const auto* file : {&config_, generation_ ? &*generation_ : nullptr})
      for (const char* field : {"eos_token_id", "decoder_start_token_id"})
        if (file) file->require_ids(field, config.vocabulary, unchosen);
    if constexpr (requires { config.start_token; })
      if (generation_)
        config.start_token =
            static_cast<std::int32_t>(generation_->size({"decoder_start_token_id"}, config.start_token, 0));
    return config;
  }

  /// The model, its weights converted to the backend's number type. Throws FileError for a family that is not
  /// among AnyModel's, and see load_as.
  template <Backend B>
  [[nodiscard]] AnyModel<B> load() const {
    return load_choice<B>(std::type_identity<typename AnyModel<B>::Choice>{});
  }

  /// A model of a known type. Throws FileError if the folder holds another one, for a config.json with values
  /// that are not supported, and for weights that do not fit it, all in one message.
  template <class Model>
  [[nodiscard]] Model load_as() const {
    using Format = hugging_face::Format<typename Model::Family>;
    using B = typename Model::Backend;
    if (!holds<Model>()) refuse_family(Model::Family::name);
    auto config = config_of<Model>();
    const hugging_face::FileLayout layout = Format::layout();
    const hugging_face::Tensors tensors(path_, layout);
    config.tied_head = head_is_tied(bool_of(config.tied_head), tensors, layout);
    try {
      require_plausible(hugging_face::detail::least_weights<Model>(config), tensors);
      Model model(config, std::nullopt);
      hugging_face::load_weights<B>(
          tensors, layout,
          hugging_face::placements<B>(layout, parameters(model), hugging_face::query_width(model.config())),
          bool_of(config.tied_head));
      return model;
    } catch (const ValueError& error) {
      refuse_sizes(error);
    }
  }

 private:
  std::filesystem::path path_;
  hugging_face::ConfigFile config_;
  std::optional<hugging_face::ConfigFile> generation_;  // generation_config.json, if there is one

  static bool bool_of(bool value) { return value; }
  static bool bool_of(const std::optional<bool>& value) { return *value; }

  template <Backend B, class... Models>
  [[nodiscard]] AnyModel<B> load_choice(std::type_identity<std::variant<Models...>>) const {
    std::optional<AnyModel<B>> model;
    const auto attempt = [&]<class Model>(std::type_identity<Model>) {
      if (!model && holds<Model>()) model.emplace(load_as<Model>());
    };
    (attempt(std::type_identity<Models>{}), ...);
    if (!model) refuse_type({hugging_face::Format<typename Models::Family>::model_type...});
    return std::move(*model);
  }

  [[nodiscard]] nlohmann::json model_type() const { return config().value("model_type", nlohmann::json()); }

  [[noreturn]] void refuse_family(const char* expected) const {
    fail<FileError>("hugging_face", "'{}' holds a model of type {}, expected {}", path_.string(),
                    retort::detail::shown(model_type()), expected);
  }
  [[noreturn]] void refuse_type(const std::set<std::string>& supported) const {
    const auto list = fmt::format("supported: {}", fmt::join(supported, ", "));
    if (!config().contains("model_type"))
      fail<FileError>("hugging_face", "'{}': model_type is missing, {}", config_.path().string(), list);
    config_.complain("model_type", model_type(), list);
  }
  /// Sizes that make no model come from the file.
  [[noreturn]] void refuse_sizes(const ValueError& error) const {
    fail<FileError>("hugging_face", "'{}': {}", config_.path().string(), error.what());
  }

  /// As transformers 5 decides it: a head that the file has with other values than the token table is not
  /// tied, whatever config.json says; T5, whose heads its configuration always ties, is tied without one.
  [[nodiscard]] bool head_is_tied(bool tied, const hugging_face::Tensors& tensors,
                                  const hugging_face::FileLayout& layout) const {
    const auto *head = tensors.find(layout.head), *table = tensors.find(layout.embedding);
    if (tied) return head == nullptr || table == nullptr || hugging_face::equal_tensors(*head, *table);
    return head == nullptr && model_type() == "t5";
  }

  /// A configuration whose model is far larger than its weights is not made: the memory would be asked for
  /// before the missing weights are found.
  void require_plausible(double weights, const hugging_face::Tensors& tensors) const {
    if (weights > 2.0 * static_cast<double>(tensors.bytes()) + (1 << 20))
      fail<FileError>("hugging_face",
                      "'{}' describes a model of {:.0f} weights or more, the files hold {} bytes",
                      config_.path().string(), weights, tensors.bytes());
  }
};

/// The model of a folder whose family is known: `load_family<Decoder<Cpu<float>, Llama>>(path)`.
template <class Model>
[[nodiscard]] Model load_family(const std::filesystem::path& path) {
  return HuggingFaceFolder(path).load_as<Model>();
}

}  // namespace retort
