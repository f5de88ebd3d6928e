// Thread orders for tests of the device on a GPU, which has its own. Declared by
// tests/unit/device/support.hpp.
#include <cstdint>

namespace retort::test {

int thread_orders();
void set_thread_order(std::uint64_t order);

int thread_orders() {
  return 1;
}
void set_thread_order(std::uint64_t) {}

}  // namespace retort::test
