#pragma once

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

/// What the programs share.
namespace support {

/// Exit codes: 0 done, 2 bad input (one line says which), 130 stopped by Ctrl-C.
inline constexpr int exit_bad_input = 2;
inline constexpr int exit_stopped = 130;

/// Calls f. An E that it throws gets `advice` behind its message: "...: what is wrong; use another --out".
template <class E, class F>
decltype(auto) with_advice(const char* advice, F f) {
  try {
    return f();
  } catch (const E& e) {
    throw E(fmt::format("{}; {}", e.what(), advice));
  }
}

/// What to do about a checkpoint of another configuration.
inline constexpr const char* other_run_advice = "use another --out, or --fresh to begin anew";

/// A message on one line of a terminal: control characters, which names in a file may have, as `\n`, `\t` or
/// `\x1b`.
[[nodiscard]] inline std::string one_line(std::string_view message) {
  std::string line;
  for (std::size_t i = 0; i < message.size(); ++i) {
    const auto byte = static_cast<unsigned char>(message[i]);
    // Those from U+0080 on are two bytes in UTF-8, of which the first is C2.
    const bool next_is_control =
        byte == 0xC2 && i + 1 < message.size() && (static_cast<unsigned char>(message[i + 1]) & 0xE0) == 0x80;
    if (byte == '\n')
      line += "\\n";
    else if (byte == '\t')
      line += "\\t";
    else if (byte < 0x20 || byte == 0x7F)
      line += fmt::format("\\x{:02x}", byte);
    else if (next_is_control)
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(message[++i]));
    else
      line += message[i];
  }
  return line;
}

/// The body of main(): reads the flags of `app`, then `run()` gives the exit code. --help prints and gives 0;
/// a wrong flag, any exception, or output that cannot be written (a full disk) is one line on stderr after
/// the program's `name` and gives exit_bad_input.
template <class Run>
int run_program(const char* name, CLI::App& app, int argc, char** argv, Run run) {
  try {
    const int code = [&] {
      try {
        app.parse(argc, argv);
      } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return app.exit(e);  // --help
        throw;
      }
      return run();
    }();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      throw std::runtime_error("what was to be printed could not be written");
    return code;
  } catch (const CLI::ParseError& e) {
    fmt::print(stderr, "{}: {}\n", name, one_line(e.what()));
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", name, one_line(e.what()));
  }
  return exit_bad_input;
}

}  // namespace support
