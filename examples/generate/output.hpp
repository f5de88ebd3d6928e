#pragma once

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "generate/engine.hpp"
#include "generate/prompts.hpp"
#include "retort/io/atomic_file.hpp"

namespace generator {

/// Where responses go: standard output, or a file that is written whole or not at all.
class Output {
 public:
  /// Throws FileError for a file that cannot be written: before anything is computed.
  explicit Output(const Settings& settings) {
    if (settings.out) file_.emplace(*settings.out);
  }

  /// Whether somebody watches.
  [[nodiscard]] bool is_terminal() const { return !file_ && ::isatty(STDOUT_FILENO) == 1; }

  /// Throws FileError if it cannot be written.
  void write(std::string_view bytes) {
    if (file_)
      file_->write(bytes);
    else if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size() || std::fflush(stdout) != 0)
      retort::fail<retort::FileError>("output", "cannot write to standard output");
  }

  /// Gives the file its name.
  void finish() {
    if (file_) file_->commit();
  }

 private:
  std::optional<retort::AtomicFile> file_;
};

/// A response as a line of JSON. `sample` counts from 1.
[[nodiscard]] inline std::string json_line(const Settings& settings, const Prompt& prompt, Index sample,
                                           const std::string& text, const Response& response) {
  nlohmann::ordered_json json{{"id", prompt.id}};
  if (settings.samples > 1) json["sample"] = sample;
  json["prompt"] = prompt.text;
  json["text"] = text;
  json["tokens"] = response.tokens;
  json["log_probabilities"] = response.log_probabilities;
  if (settings.searches()) json["score"] = response.score;
  json["finished"] = response.finished;
  return json.dump() + "\n";
}

}  // namespace generator
