#pragma once

#include <concepts>
#include <filesystem>
#include <set>
#include <string>
#include <type_traits>

#include "retort/io/policy_json.hpp"
#include "retort/models/any_model.hpp"

/// A model's configuration from the JSON that `to_json` makes of it.
namespace convert {

/// Fills a configuration from an object that has all its fields, and no others but `family`, `lora` and the
/// name of a policy. Throws FileError that names file and field.
class Description {
 public:
  Description(std::filesystem::path file, const nlohmann::json& json, std::string prefix = "model.")
      : file_(std::move(file)), json_(json), prefix_(std::move(prefix)) {
    if (!json.is_object())
      retort::fail<retort::FileError>("convert", "'{}': {} is no object", file_.string(),
                                      prefix_.substr(0, prefix_.size() - 1));
  }

  template <class Config>
  [[nodiscard]] Config read() const {
    Config config;
    std::set<std::string> known{"family", "lora", "name"};
    std::as_const(config).each_field([&](const char* name, const auto& value) {
      known.insert(name);
      assign(config, name, value);
    });
    for (const auto& [name, value] : json_.items())
      if (!known.contains(name))
        retort::fail<retort::FileError>("convert", "'{}': {}{} is unknown", file_.string(), prefix_, name);
    return config;
  }

 private:
  std::filesystem::path file_;
  const nlohmann::json& json_;
  std::string prefix_;

  [[noreturn]] void complain(const char* name, const char* expected) const {
    retort::fail<retort::FileError>("convert", "'{}': {}{} is {}, expected {}", file_.string(), prefix_, name,
                                    json_.at(name).dump(), expected);
  }

  /// `value` is a member of `config`, or what stands for one of its members in JSON.
  template <class Config, class Value>
  void assign(Config& config, const char* name, const Value& value) const {
    if (!json_.contains(name))
      retort::fail<retort::FileError>("convert", "'{}': {}{} is missing", file_.string(), prefix_, name);
    const nlohmann::json& given = json_[name];
    auto& member = const_cast<Value&>(value);
    if constexpr (retort::HasFields<Value>) {
      member = Description(file_, given, prefix_ + name + ".").read<Value>();
    } else if constexpr (std::same_as<Value, bool>) {
      if (!given.is_boolean()) complain(name, "true or false");
      member = given.get<bool>();
    } else if constexpr (std::integral<Value>) {
      if (!given.is_number_integer() || given.get<double>() < 0 || given.get<double>() > 1 << 30)
        complain(name, "a whole number from 0 to 2^30");
      member = given.get<Value>();
    } else if constexpr (std::floating_point<Value>) {
      if (!given.is_number()) complain(name, "a number");
      member = given.get<Value>();
    } else {
      assign_text(config, name, given);
    }
  }

  void assign_text(retort::nn::RotaryConfig& config, const char* name, const nlohmann::json& given) const {
    using Scaling = retort::nn::RotaryScaling;
    for (const Scaling scaling : {Scaling::none, Scaling::linear, Scaling::llama3})
      if (given == retort::nn::name_of(scaling)) {
        config.scaling = scaling;
        return;
      }
    complain(name, "one of default, linear, llama3");
  }
  void assign_text(retort::EncoderDecoderConfig& config, const char* name,
                   const nlohmann::json& given) const {
    auto& flag = std::string(name) == "tied_head" ? config.tied_head : config.scaled_head;
    if (given != "yes" && given != "no" && given != "default") complain(name, "yes, no or default");
    if (given != "default") flag = given == "yes";
  }
};

}  // namespace convert
