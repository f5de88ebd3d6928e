#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "machine.hpp"
#include "retort/core/error.hpp"
#include "retort/version.hpp"

/// What a benchmark writes to the file that --json names.
namespace bench {

/// An empty report: library, processor, threads and the arithmetic peak (operations a second), no rows yet.
[[nodiscard]] inline nlohmann::json new_report(double peak) {
  return {{"retort", retort::version},
          {"cpu", cpu_name()},
          {"threads", retort::thread_count()},
          {"peak_gflops", peak / 1e9},
          {"rows", nlohmann::json::array()}};
}

/// Writes a report to `path`; nothing if that is empty. FileError, named after `program`, if it cannot.
inline void write_report(const char* program, const std::string& path, const nlohmann::json& report) {
  if (path.empty()) return;
  std::ofstream file(path);
  if (!(file << report.dump(2) << '\n'))
    retort::fail<retort::FileError>(program, "'{}' cannot be written", path);
}

}  // namespace bench
