#include <retort/core/error.hpp>

[[noreturn]] void fail_elsewhere() {
  retort::fail<retort::ShapeError>("promises", "thrown in another file");
}
