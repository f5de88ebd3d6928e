#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

/// The library's exceptions. Every message has the form `[operation] what was given, what was expected`, and
/// the checks stay on in Release builds. Programs catch `Error`, print `what()` on one line and exit with 2.
namespace retort {

/// Root of the hierarchy: catching it catches everything the library throws on purpose.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Shapes that do not fit together, or an index outside its dimension.
struct ShapeError : Error {
  using Error::Error;
};

/// A value outside its range: a policy parameter, an option, a token id.
struct ValueError : Error {
  using Error::Error;
};

/// A file that is missing, malformed, truncated or cannot be written. The message names file and line or
/// tensor.
struct FileError : Error {
  using Error::Error;
};

/// NaN or infinity where a number was expected.
struct NumericError : Error {
  using Error::Error;
};

/// A device that is absent, too old, or out of memory.
struct DeviceError : Error {
  using Error::Error;
};

namespace detail {

/// The one place where messages are put together: `fail` is instantiated hundreds of times.
[[gnu::cold]] inline std::string error_message(std::string_view where, fmt::string_view format,
                                               fmt::format_args args) {
  return fmt::format("[{}] {}", where, fmt::vformat(format, args));
}

}  // namespace detail

/// Throws `E` with the message `[where] ...`, the rest formatted by fmt.
template <class E, class... Args>
[[noreturn, gnu::cold, gnu::noinline]] void fail(std::string_view where, fmt::format_string<Args...> format,
                                                 Args&&... args) {
  throw E(detail::error_message(where, format, fmt::make_format_args(args...)));
}

}  // namespace retort
