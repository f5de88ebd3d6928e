#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "retort/core/error.hpp"
#include "retort/text/shallow_json.hpp"

namespace support {

/// The object that a line of a JSONL file holds. Throws FileError that begins with `operation` and `where`,
/// the file and the line's number, if it is none or is nested deeply. The line must be valid UTF-8.
[[nodiscard]] inline nlohmann::json parse_json_line(const char* operation, const std::string& where,
                                                    const std::string& line) {
  using retort::fail, retort::FileError;
  if (retort::detail::nested_too_deeply(line)) fail<FileError>(operation, "{}: nested too deeply", where);
  auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) fail<FileError>(operation, "{}: not a JSON object", where);
  return json;
}

}  // namespace support
