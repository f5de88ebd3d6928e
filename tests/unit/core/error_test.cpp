#include "retort/core/error.hpp"

#include <string>
#include <type_traits>

#include "catch.hpp"

namespace {

template <class E>
std::string message_of_failure() {
  try {
    retort::fail<E>("matmul", "{} columns against {} rows", 3, 4);
  } catch (const retort::Error& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("fail throws the named error with the operation in brackets before the message") {
  CHECK_THROWS_AS(retort::fail<retort::ShapeError>("matmul", "no"), retort::ShapeError);
  CHECK(message_of_failure<retort::ShapeError>() == "[matmul] 3 columns against 4 rows");
}

TEMPLATE_TEST_CASE("every error of the library is caught as retort::Error and as std::runtime_error", "",
                   retort::ShapeError, retort::ValueError, retort::FileError, retort::NumericError,
                   retort::DeviceError) {
  CHECK(message_of_failure<TestType>() == "[matmul] 3 columns against 4 rows");
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, TestType>);
  STATIC_REQUIRE_FALSE(std::is_same_v<retort::Error, TestType>);
}
