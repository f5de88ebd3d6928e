#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "retort/core/error.hpp"
#include "retort/text/shallow_json.hpp"

namespace retort::detail {

/// The bytes of a file. Throws FileError, with the system's reason, if it cannot be read.
[[nodiscard]] inline std::string read_text_file(const std::filesystem::path& path) {
  const auto complain = [&](int reason) {
    fail<FileError>("tokenizer", "cannot read '{}': {}", path.string(),
                    std::system_category().message(reason));
  };
  if (std::filesystem::is_directory(path)) complain(EISDIR);
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) complain(errno != 0 ? errno : EIO);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) complain(EIO);
  return bytes;
}

/// A value of a JSON file that knows where it stands: whatever is wrong with it is a FileError that names
/// file and field. It refers to the parsed file, which must outlive it.
class JsonField {
 public:
  using Json = nlohmann::json;

  JsonField(const Json& value, const std::string& file, std::string path = {})
      : value_(&value), file_(&file), path_(std::move(path)) {}

  template <class... Args>
  [[noreturn]] void complain(fmt::format_string<Args...> format, Args&&... args) const {
    retort::fail<FileError>("tokenizer", "'{}'{}{}: {}", *file_, path_.empty() ? "" : ", field ", path_,
                            fmt::format(format, std::forward<Args>(args)...));
  }
  /// Calls `f`; a ValueError of its becomes a FileError about this field.
  template <class F>
  decltype(auto) guard(F&& f) const {
    try {
      return f();
    } catch (const ValueError& error) {
      complain("{}", error.what());
    }
  }

  /// A member that must be there and not null.
  [[nodiscard]] JsonField operator[](const char* key) const {
    auto member = find(key);
    if (!member) complain("'{}' is missing", key);
    return *member;
  }
  /// A member, or nothing if it is absent or null.
  [[nodiscard]] std::optional<JsonField> find(const char* key) const {
    if (!value_->is_object()) expected("an object");
    const auto member = value_->find(key);
    if (member == value_->end() || member->is_null()) return std::nullopt;
    return JsonField(*member, *file_, path_.empty() ? key : fmt::format("{}.{}", path_, key));
  }

  [[nodiscard]] const std::string& string() const {
    if (!value_->is_string()) expected("a string");
    return value_->get_ref<const std::string&>();
  }
  [[nodiscard]] bool boolean() const {
    if (!value_->is_boolean()) expected("true or false");
    return value_->get<bool>();
  }
  [[nodiscard]] double number() const {
    if (!value_->is_number()) expected("a number");
    return value_->get<double>();
  }
  /// Throws unless it is a whole number in [low, high].
  [[nodiscard]] std::int64_t integer(std::int64_t low, std::int64_t high) const {
    if (!value_->is_number_integer()) expected("a whole number");
    const bool too_large = value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX;
    const auto number = too_large ? 0 : value_->get<std::int64_t>();
    if (too_large || number < low || number > high)
      expected(fmt::format("a number from {} to {}", low, high));
    return number;
  }
  [[nodiscard]] bool boolean_or(const char* key, bool otherwise) const {
    const auto member = find(key);
    return member ? member->boolean() : otherwise;
  }
  [[nodiscard]] std::size_t integer_or(const char* key, std::size_t otherwise) const {
    const auto member = find(key);
    return member ? static_cast<std::size_t>(member->integer(0, INT32_MAX)) : otherwise;
  }

  [[nodiscard]] const Json& value() const { return *value_; }

  /// Calls `f(element)` for each of an array.
  template <class F>
  void for_each(F&& f) const {
    if (!value_->is_array()) expected("an array");
    for (std::size_t i = 0; i < value_->size(); ++i)
      f(JsonField((*value_)[i], *file_, fmt::format("{}[{}]", path_, i)));
  }
  /// Calls `f(key, value)` for each member of an object.
  template <class F>
  void for_each_member(F&& f) const {
    if (!value_->is_object()) expected("an object");
    for (auto member = value_->begin(); member != value_->end(); ++member)
      f(member.key(), JsonField(member.value(), *file_, fmt::format("{}[{}]", path_, shown(member.key()))));
  }

  [[noreturn]] void expected(std::string_view what) const {
    complain("it is {}, expected {}", shown(*value_), what);
  }

 private:
  const Json* value_;
  const std::string* file_;
  std::string path_;
};

/// A JSON file, parsed.
class JsonFile {
 public:
  /// Throws FileError if the file cannot be read, is not JSON or is nested deeper than any tokenizer's.
  explicit JsonFile(const std::filesystem::path& path) : name_(path.string()) {
    const std::string bytes = read_text_file(path);
    if (nested_too_deeply(bytes, 256)) fail<FileError>("tokenizer", "'{}' is nested too deeply", name_);
    try {
      value_ = nlohmann::json::parse(bytes);
    } catch (const nlohmann::json::exception& error) {
      fail<FileError>("tokenizer", "'{}' is not JSON: {}", name_, error.what());
    }
  }
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;

  [[nodiscard]] JsonField root() const { return {value_, name_}; }

 private:
  std::string name_;
  nlohmann::json value_;
};

}  // namespace retort::detail
