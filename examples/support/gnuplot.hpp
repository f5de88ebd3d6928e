#pragma once

#include <fmt/core.h>

#include <sys/wait.h>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "retort/io/atomic_file.hpp"

/// Pictures by gnuplot, if it is there.
namespace support {

/// `text` between quotes, for gnuplot and for the shell.
[[nodiscard]] inline std::string gnuplot_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "''" : std::string(1, c == '\n' ? ' ' : c);
  return out + "'";
}
[[nodiscard]] inline std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

/// Has gnuplot draw the PNG file `picture`, which its variable `picture` names, and leaves `program` beside
/// it (with .gp) for whoever wants another picture. Returns an empty text, or one line that says why there is
/// no picture; one that was there before stays then. FileError if the program cannot be written.
[[nodiscard]] inline std::string run_gnuplot(const std::string& program, const std::filesystem::path& picture,
                                             const std::string& gnuplot = "gnuplot") {
  auto file = picture, temporary = picture;
  file.replace_extension(".gp");
  temporary += ".tmp";
  retort::write_file(file, program);

  // gnuplot reads a file and its messages are read from a pipe: nothing is ever written to a process that has
  // died
  const std::string redirect = fmt::format("picture = {}", gnuplot_quoted(temporary.string()));
  const std::string command = fmt::format("{} -e {} {} 2>&1", shell_quoted(gnuplot), shell_quoted(redirect),
                                          shell_quoted(file.string()));
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "no process could be started for gnuplot";
  std::string messages;
  std::array<char, 256> buffer{};
  while (std::fgets(buffer.data(), static_cast<int>(buffer.size()), pipe) != nullptr)
    messages += buffer.data();
  const int status = ::pclose(pipe);
  std::error_code error;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    std::filesystem::rename(temporary, picture, error);
    return error ? fmt::format("gnuplot's file cannot become '{}': {}", picture.string(), error.message())
                 : "";
  }
  std::filesystem::remove(temporary, error);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return "gnuplot is not installed";
  const auto first = messages.find_first_not_of(" \t\n");
  const auto line =
      first == messages.npos ? "it says nothing" : messages.substr(first, messages.find('\n', first) - first);
  return fmt::format("gnuplot failed: {}", line);
}

}  // namespace support
