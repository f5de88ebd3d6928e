// The words of an error message are checked against its values when the program is compiled.
// expect: call to non-'?constexpr|call to consteval function|not a constant expression
#include "retort/core/error.hpp"

int main() {
#ifdef RETORT_OK
  retort::fail<retort::ShapeError>("matmul", "{} has 3 columns", "weight");
#else
  retort::fail<retort::ShapeError>("matmul", "{:d} has 3 columns", "weight");
#endif
}
