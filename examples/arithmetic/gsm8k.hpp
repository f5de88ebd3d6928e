#pragma once

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "arithmetic/problems.hpp"
#include "retort/core/error.hpp"

/// GSM8K's own files: a JSON object a line with the texts `question` and `answer`.
namespace arithmetic {

/// The problems of a file, in its order; empty lines are left out. FileError that names file and line for one
/// that is no such object, whose question is empty, or whose answer has no line `#### `; and for a file that
/// cannot be read or is empty.
[[nodiscard]] inline std::vector<Problem> read_gsm8k(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || file.peek() == std::ifstream::traits_type::eof())
    retort::fail<retort::FileError>("gsm8k", "'{}' cannot be read or is empty", path);
  std::vector<Problem> out;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const auto complain = [&](const std::string& why) {
      retort::fail<retort::FileError>("gsm8k", "{}:{}: {}", path, number, why);
    };
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) complain("not a JSON object");
    const auto text = [&](const char* name) {
      const auto field = json.find(name);
      if (field == json.end()) complain(fmt::format("the field {} is missing", name));
      if (!field->is_string()) complain(fmt::format("the field {} is not a text", name));
      return field->get<std::string>();
    };
    Problem problem{text("question"), text("answer")};
    if (problem.question.empty()) complain("the question is empty");
    if (problem.answer.find("####") == std::string::npos) complain("the answer has no line '#### '");
    out.push_back(std::move(problem));
  }
  if (out.empty()) retort::fail<retort::FileError>("gsm8k", "'{}' has no problem", path);
  return out;
}

}  // namespace arithmetic
