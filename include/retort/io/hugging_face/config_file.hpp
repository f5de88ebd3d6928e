#pragma once

#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "retort/core/error.hpp"
#include "retort/core/scalar.hpp"
#include "retort/io/memory_map.hpp"
#include "retort/text/shallow_json.hpp"

namespace retort::hugging_face {

/// A `config.json`, read field by field. Every fault is a FileError that names the file and the field. A
/// field that is absent or null has its default; several names of a field are its spellings, the first one
/// found counts.
class ConfigFile {
 public:
  using Json = nlohmann::json;
  using Names = std::initializer_list<const char*>;

  explicit ConfigFile(std::filesystem::path path) : path_(std::move(path)) {
    const MemoryMap map(path_);
    const auto bytes = map.bytes();
    constexpr std::size_t most_bytes = std::size_t{16} << 20;  // a thousand times what models have
    if (bytes.size() > most_bytes)
      fail<FileError>("hugging_face", "'{}' has {} bytes, a configuration has at most {}", path_.string(),
                      bytes.size(), most_bytes);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (retort::detail::nested_too_deeply(text))
      fail<FileError>("hugging_face", "'{}' is nested too deeply", path_.string());
    try {
      json_ = Json::parse(text);
    } catch (const Json::exception& error) {
      fail<FileError>("hugging_face", "'{}' is no JSON: {}", path_.string(), error.what());
    }
    if (!json_.is_object()) fail<FileError>("hugging_face", "'{}' holds no JSON object", path_.string());
  }
  /// A part of a file: `json` stands in it under the name `prefix`.
  ConfigFile(std::filesystem::path path, Json json, std::string prefix)
      : path_(std::move(path)), json_(std::move(json)), prefix_(std::move(prefix)) {}

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const Json& json() const { return json_; }

  /// Whether one of the spellings is there and not null.
  [[nodiscard]] bool has(Names names) const { return find(names).second != nullptr; }

  /// A whole number of at least `least`; without a default it must be there.
  [[nodiscard]] Index size(Names names, std::optional<Index> fallback = {}, Index least = 1) const {
    const auto [name, value] = find_or(names, fallback.has_value());
    if (value == nullptr) return *fallback;
    if (!value->is_number_integer() || value->get<double>() < static_cast<double>(least) ||
        value->get<double>() > double{1 << 30})
      complain(name, *value, fmt::format("expected a whole number from {} to 2^30", least));
    return value->get<Index>();
  }
  /// Which numbers a field may have.
  enum class Range {
    any,
    positive,
    not_negative,
    share,  ///< from 0 to below 1, as of dropout
  };
  /// A number, also as 1e-05 or 1.
  [[nodiscard]] double number(Names names, std::optional<double> fallback = {},
                              Range range = Range::any) const {
    const auto [name, value] = find_or(names, fallback.has_value());
    if (value == nullptr) return *fallback;
    if (!value->is_number() || !std::isfinite(value->get<double>()))
      complain(name, *value, "expected a number");
    const auto number = value->get<double>();
    if (range == Range::positive && number <= 0) complain(name, *value, "expected a number above 0");
    if (range == Range::not_negative && number < 0) complain(name, *value, "expected a number of at least 0");
    if (range == Range::share && (number < 0 || number >= 1))
      complain(name, *value, "expected a number from 0 to below 1");
    return number;
  }
  /// Throws unless the ids of a token, a number or a list of them, are in the vocabulary or `harmless`. None is
  /// absent, null or -1.
  void require_ids(const char* name, Index vocabulary, Index harmless = -1) const {
    const auto value = find({name}).second;
    if (value == nullptr) return;
    const auto check = [&](const Json& id) {
      if (id == harmless) return;
      if (!id.is_number_integer() || id.get<double>() < -1 ||
          id.get<double>() >= static_cast<double>(vocabulary))
        complain(name, *value, fmt::format("expected ids from 0 to {}", vocabulary - 1));
    };
    if (value->is_array())
      for (const Json& id : *value) check(id);
    else
      check(*value);
  }
  [[nodiscard]] bool flag(Names names, bool fallback) const {
    const auto [name, value] = find_or(names, true);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) complain(name, *value, "expected true or false");
    return value->get<bool>();
  }
  /// A part of the file that is an object, or nothing.
  [[nodiscard]] std::optional<ConfigFile> object(const char* name) const {
    const auto value = find({name}).second;
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) complain(name, *value, "expected an object");
    return ConfigFile(path_, *value, prefix_ + name + ".");
  }
  /// One of the texts `supported`.
  [[nodiscard]] std::string text(Names names, const char* fallback, Names supported) const {
    const auto [name, value] = find_or(names, fallback != nullptr);
    if (value == nullptr) return fallback;
    std::string all;
    for (const char* one : supported) {
      if (value->is_string() && value->get<std::string>() == one) return one;
      all += (all.empty() ? "" : ", ") + std::string(one);
    }
    complain(name, *value, "supported: " + all);
  }
  /// Throws unless the field, which changes the computation, is absent, null or `supported`.
  void require(const char* name, const Json& supported) const {
    if (const auto value = find({name}).second; value != nullptr && *value != supported)
      complain(name, *value, "supported: " + supported.dump());
  }

  /// Throws: `name` holds `value`, and why that is wrong.
  [[noreturn]] void complain(const std::string& name, const Json& value, const std::string& why) const {
    fail<FileError>("hugging_face", "'{}': {}{} is {}, {}", path_.string(), prefix_, name,
                    retort::detail::shown(value), why);
  }

 private:
  std::filesystem::path path_;
  Json json_;
  std::string prefix_;

  [[nodiscard]] std::pair<std::string, const Json*> find(Names names) const {
    for (const char* name : names)
      if (const auto at = json_.find(name); at != json_.end() && !at->is_null()) return {name, &*at};
    return {*names.begin(), nullptr};
  }
  [[nodiscard]] std::pair<std::string, const Json*> find_or(Names names, bool has_default) const {
    auto found = find(names);
    if (found.second == nullptr && !has_default)
      fail<FileError>("hugging_face", "'{}': {}{} is missing", path_.string(), prefix_, found.first);
    return found;
  }
};

}  // namespace retort::hugging_face
