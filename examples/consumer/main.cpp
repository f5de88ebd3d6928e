#include <fmt/core.h>

#include <retort/core/error.hpp>
#include <retort/version.hpp>

int main() {
  try {
    retort::fail<retort::ValueError>("consumer", "this is retort {}", retort::version);
  } catch (const retort::Error& error) {
    fmt::print("{}\n", error.what());
  }
}
