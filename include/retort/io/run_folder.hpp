#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "retort/core/shape.hpp"
#include "retort/io/atomic_file.hpp"
#include "retort/version.hpp"

namespace retort {

/// The folder of one training run:
///
///   config.json               library version, seed, all policies and values
///   metrics.jsonl             one JSON object a line, each with its "step"
///   samples/step_00000100.txt what the model said
///   checkpoint.safetensors    the last one
///
/// All but the metrics are written whole or not at all. One process at a time holds a folder. Every failure
/// is a FileError that names the file.
class RunFolder {
 public:
  /// Makes the folder if need be. Throws FileError if that fails or another run holds it.
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code reason;
    std::filesystem::create_directories(path_, reason);
    if (reason) fail<FileError>("run folder", "cannot make '{}': {}", path_.string(), reason.message());
    lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock_ < 0) fail_with(path_, errno);
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(lock_);
      fail<FileError>("run folder", "'{}' is in use by another run", path_.string());
    }
  }
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder() {
    if (metrics_ >= 0) ::close(metrics_);
    ::close(lock_);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path config_path() const { return path_ / "config.json"; }
  [[nodiscard]] std::filesystem::path metrics_path() const { return path_ / "metrics.jsonl"; }
  [[nodiscard]] std::filesystem::path checkpoint_path() const { return path_ / "checkpoint.safetensors"; }
  [[nodiscard]] std::filesystem::path samples_path(Index step) const {
    return path_ / "samples" / fmt::format("step_{:08}.txt", step);
  }

  /// Whether there is a run to continue.
  [[nodiscard]] bool has_checkpoint() const { return std::filesystem::exists(checkpoint_path()); }

  /// Removes the files of the run that was here, and nothing else.
  void clear() {
    if (metrics_ >= 0) ::close(std::exchange(metrics_, -1));
    std::error_code ignored;
    for (const auto& file : {checkpoint_path(), metrics_path(), config_path()})
      std::filesystem::remove(file, ignored);
    std::vector<std::filesystem::path> samples;
    for (const auto& entry : std::filesystem::directory_iterator(path_ / "samples", ignored))
      if (entry.path().filename().string().starts_with("step_")) samples.push_back(entry.path());
    for (const auto& file : samples) std::filesystem::remove(file, ignored);
  }

  /// Writes config.json: {"config": config, "library": "retort 0.1.0", "seed": seed}.
  void write_config(const nlohmann::json& config, std::uint64_t seed) const {
    const nlohmann::json all{
        {"library", fmt::format("retort {}", version)}, {"seed", seed}, {"config", config}};
    write_file(config_path(), text_of(all, 2));
  }

  /// For a run that continues, `config` being that of its checkpoint: writes config.json again if it is
  /// missing or damaged, and leaves one that can be read as it is. Returns what was found, a sentence, or
  /// nothing if the file is as `write_config` left it.
  [[nodiscard]] std::string mend_config(const nlohmann::json& config, std::uint64_t seed) const {
    std::ifstream in(config_path(), std::ios::binary);
    const auto there = nlohmann::json::parse(in, nullptr, false);
    if (there.is_object() && there.contains("config") && there["config"].is_object()) {
      if (there["config"] == nlohmann::json::parse(text_of(config, -1))) return {};
      return fmt::format("'{}' differs from the checkpoint's configuration, which the run follows",
                         config_path().string());
    }
    in.close();
    write_config(config, seed);
    return fmt::format("'{}' was missing or damaged and is written again from the checkpoint",
                       config_path().string());
  }

  /// Leaves only the lines up to step `last_step`, as a run has them that ended there; a last line that a
  /// kill cut short goes too. Call it before the first `append_metrics`: with the step of the checkpoint when
  /// a run continues, with -1 when one begins. Throws FileError with the number of a line that cannot be
  /// read.
  void keep_metrics(Index last_step) {
    if (metrics_ >= 0) ::close(std::exchange(metrics_, -1));
    std::string kept;
    std::ifstream in(metrics_path(), std::ios::binary);
    if (!in && std::filesystem::exists(metrics_path()))
      fail<FileError>("run folder", "cannot read '{}'", metrics_path().string());
    std::string line;
    for (int number = 1; std::getline(in, line) && !in.eof(); ++number) {
      const auto json = nlohmann::json::parse(line, nullptr, false);
      if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer())
        fail<FileError>("run folder", "'{}', line {}: not a JSON object with a step", metrics_path().string(),
                        number);
      if (json["step"].get<Index>() > last_step) break;
      kept += line + "\n";
    }
    if (in.bad()) fail_with(metrics_path(), EIO);
    in.close();
    write_file(metrics_path(), kept);
  }

  /// The metrics so far, one object a line, in order. Throws FileError with the number of a line that cannot
  /// be read.
  [[nodiscard]] std::vector<nlohmann::json> metrics() const {
    std::vector<nlohmann::json> lines;
    std::ifstream in(metrics_path(), std::ios::binary);
    std::string line;
    while (std::getline(in, line)) {
      lines.push_back(nlohmann::json::parse(line, nullptr, false));
      if (!lines.back().is_object())
        fail<FileError>("run folder", "'{}', line {}: not a JSON object", metrics_path().string(),
                        lines.size());
    }
    return lines;
  }

  /// Appends a line to metrics.jsonl. `values` needs a whole number called "step" (ValueError), not less than
  /// the one before. Keep the time of day out of it, and an interrupted run's file equals the uninterrupted
  /// one's.
  void append_metrics(const nlohmann::json& values) {
    if (!values.is_object() || !values.contains("step") || !values["step"].is_number_integer())
      fail<ValueError>("run folder", "metrics need a whole number called step");
    if (metrics_ < 0)
      metrics_ = ::open(metrics_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct ::stat before {};
    if (metrics_ < 0 || ::fstat(metrics_, &before) != 0) fail_with(metrics_path(), errno);
    const std::string line = text_of(values, -1);
    for (std::string_view rest = line; !rest.empty();) {
      const ::ssize_t written = ::write(metrics_, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        const int reason = errno;
        if (::ftruncate(metrics_, before.st_size) != 0) ::close(std::exchange(metrics_, -1));  // no half line
        fail_with(metrics_path(), reason);
      }
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  /// Waits until the metrics are on the disk. Before a checkpoint is written, so that even after a power cut
  /// no line up to its step is missing.
  void sync_metrics() const {
    if (metrics_ >= 0 && ::fsync(metrics_) != 0 && errno != EINVAL) fail_with(metrics_path(), errno);
  }

  /// Writes the samples of a step.
  void write_samples(Index step, std::string_view text) const {
    std::error_code reason;
    const auto path = samples_path(step);
    std::filesystem::create_directories(path.parent_path(), reason);
    if (reason)
      fail<FileError>("run folder", "cannot make '{}': {}", path.parent_path().string(), reason.message());
    write_file(path, text);
  }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
  int metrics_ = -1;

  [[noreturn]] static void fail_with(const std::filesystem::path& path, int reason) {
    fail<FileError>("run folder", "cannot write '{}': {}", path.string(),
                    std::system_category().message(reason));
  }

  /// A line, or an indented page; what is not UTF-8 is marked as such.
  [[nodiscard]] static std::string text_of(const nlohmann::json& json, int indent) {
    return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
};

}  // namespace retort
