#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retort/core/error.hpp"

namespace retort {

/// A prompt or chat template that is a plain text with fields in braces, `"Question: {question}\nAnswer:"`; a
/// brace that is text is doubled. It has no conditions and no loops: templates in Jinja are not read.
class PromptFormat {
 public:
  /// A field's name and what stands in its place.
  using Field = std::pair<std::string_view, std::string_view>;

  /// Throws ValueError for a brace without its other half and for a field without a name.
  explicit PromptFormat(std::string_view format) {
    std::string text;
    while (!format.empty()) {
      const char c = format.front();
      if ((c == '{' || c == '}') && format.substr(1).starts_with(c)) {
        text += c;
        format.remove_prefix(2);
      } else if (c == '{') {
        const auto end = format.find_first_of("{}", 1);
        if (end == format.npos || format[end] == '{' || end == 1)
          fail<ValueError>("prompt", "'{}' begins with a brace that no field follows", format.substr(0, 40));
        parts_.push_back({std::exchange(text, {}), std::string(format.substr(1, end - 1))});
        format.remove_prefix(end + 1);
      } else if (c == '}') {
        fail<ValueError>("prompt", "'{}' begins with a brace that closes nothing", format.substr(0, 40));
      } else {
        text += c;
        format.remove_prefix(1);
      }
    }
    end_ = std::move(text);
  }

  /// The text with its fields filled in; braces in a value are text. Throws ValueError for a field that is
  /// not given and for one that the format does not have.
  [[nodiscard]] std::string fill(std::initializer_list<Field> fields) const {
    const auto given = [&](std::string_view name) -> const Field* {
      for (const Field& field : fields)
        if (field.first == name) return &field;
      return nullptr;
    };
    for (const auto& [name, value] : fields)
      if (!has(name)) fail<ValueError>("prompt", "the format has no field '{}'", name);
    std::string out;
    for (const Part& part : parts_) {
      const Field* field = given(part.field);
      if (!field) fail<ValueError>("prompt", "the field '{}' is not given", part.field);
      out += part.before;
      out += field->second;
    }
    return out + end_;
  }

  /// Whether the format has a field of this name.
  [[nodiscard]] bool has(std::string_view name) const {
    for (const Part& part : parts_)
      if (part.field == name) return true;
    return false;
  }

 private:
  struct Part {
    std::string before, field;
  };
  std::vector<Part> parts_;
  std::string end_;  // behind the last field
};

}  // namespace retort
