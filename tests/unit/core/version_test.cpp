#include "retort/version.hpp"

#include <fmt/format.h>

#include "catch.hpp"

TEST_CASE("the version string says what the three numbers say") {
  CHECK(retort::version ==
        fmt::format("{}.{}.{}", retort::version_major, retort::version_minor, retort::version_patch));
}
