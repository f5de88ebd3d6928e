// The one main of all test programs: Catch2's, and an exit status of its own for skipped tests.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <iostream>
#include <string_view>

namespace {

/// What ctest takes for "skipped" (SKIP_RETURN_CODE in tests/CMakeLists.txt).
constexpr int skipped_status = 77;
int skips = 0;

}  // namespace

namespace retort::test {

void skip(std::string_view reason) {
  ++skips;
  std::cout << "SKIPPED: " << reason << std::endl;
}

}  // namespace retort::test

/// 0 all passed, 77 all passed but at least one was skipped, otherwise Catch2's count of failures.
int main(int argc, char** argv) {
  const int failures = Catch::Session().run(argc, argv);
  return failures == 0 && skips > 0 ? skipped_status : failures;
}
