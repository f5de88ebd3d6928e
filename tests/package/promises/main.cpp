#include <nlohmann/json.hpp>
#include <retort/core/error.hpp>
#include <retort/version.hpp>

[[noreturn]] void fail_elsewhere();

int main() {
  try {
    fail_elsewhere();
  } catch (const retort::ShapeError&) {
    return nlohmann::json(retort::version) == "" ? 1 : 0;
  }
}
