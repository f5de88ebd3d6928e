// The floor under every program that uses the library: fmt and the error hierarchy.
#include <fmt/core.h>

#include "retort/core/error.hpp"

int main() {
  try {
    retort::fail<retort::ValueError>("compile_time", "{} is a value", 3);
  } catch (const retort::Error& error) {
    fmt::print("{}\n", error.what());
  }
}
