#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "retort/core/scalar.hpp"
#include "support/device.hpp"

/// What the command line says.
namespace generator {

using retort::Index;

struct Settings {
  std::string model;
  std::optional<std::string> prompt;         ///< one prompt, or ...
  std::optional<std::string> prompts;        ///< ... a file of them
  std::optional<std::string> format;         ///< of the prompt, with {prompt}; \n and \t are characters
  std::optional<std::string> template_file;  ///< the same from a file, as it stands there
  bool no_special = false;                   ///< no tokens around the prompt

  Index max_tokens = 128;
  Index samples = 1;
  std::uint64_t seed = 0;
  std::optional<double> temperature;
  std::optional<Index> top_k;
  std::optional<double> top_p;
  std::optional<Index> beams;
  std::optional<double> length_penalty;
  std::optional<std::string> penalty;    ///< power or gnmt
  std::optional<std::string> beam_stop;  ///< exact or current
  bool ignore_end = false;
  std::optional<std::string> draft;   ///< folder of the model that proposes tokens
  std::optional<Index> draft_tokens;  ///< most of them at a time

  std::optional<std::string> out;
  std::optional<std::string> output_format;  ///< text or jsonl
  Index batch = 8;                           ///< sequences at a time
  support::Device device;
  int threads = 0;
  bool quiet = false;

  [[nodiscard]] bool draws() const { return temperature || top_k || top_p; }
  [[nodiscard]] bool searches() const { return beams.value_or(1) > 1; }
  /// JSON, a line a response; else text.
  [[nodiscard]] bool json() const { return output_format ? *output_format == "jsonl" : prompts || out; }
};

}  // namespace generator
