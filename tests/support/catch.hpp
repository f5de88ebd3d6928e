#pragma once

/// Catch2 2 or 3, whichever is installed, and RETORT_SKIP. Tests include this and nothing else of Catch2, and
/// may write what version 2 has: Approx, and Catch::Matchers::Contains of a text.
#if !defined(RETORT_CATCH2_VERSION_2) && __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#include <concepts>
#include <string>
using Catch::Approx;
namespace Catch::Matchers {
template <class Text>
requires std::convertible_to<Text, std::string> StringContainsMatcher Contains(Text&& text) {
  return ContainsSubstring(text);
}
}  // namespace Catch::Matchers
#else
#include <catch2/catch.hpp>
#endif

#include <string>
#include <string_view>

namespace retort::test {

/// The message of the error that `f` throws, `E` or one derived from it; "no error" if it throws none. Any
/// other escapes.
template <class E, class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}

/// Notes that the running test case cannot be run here. Use RETORT_SKIP, which also leaves it.
void skip(std::string_view reason);

}  // namespace retort::test

/// Leaves the running test case because something it needs is absent: `RETORT_SKIP("no CUDA device")`, at its
/// start (sections after it are not run either). Prints "SKIPPED: reason"; ctest lists the test as skipped,
/// unless something in it failed.
#define RETORT_SKIP(reason)       \
  do {                            \
    ::retort::test::skip(reason); \
    return;                       \
  } while (false)
