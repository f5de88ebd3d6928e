#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "multiprocessor.hpp"

/// The host executor: CUDA kernels that the host's compiler has compiled run on the processor, block after
/// block, with a stack of its own for each thread of a block. The order of the threads is drawn anew at each
/// barrier, so that a missing one shows as a wrong result in some order; what a GPU would do undefined things
/// with is a KernelError. Kernel text is compiled with -DRETORT_HOST_EXECUTOR=1 -Wno-unknown-pragmas (#pragma
/// unroll).
///
/// Each OS thread has its own executor with its own seed. No thread is ever interrupted: one that spins until
/// another has written something spins for ever.
namespace retort::executor {

/// Starts the sequence of thread orders of this OS thread's next launches from `seed`; before it is called,
/// 0.
inline void set_seed(std::uint64_t seed) {
  multiprocessor().set_seed(seed);
}

[[nodiscard]] inline Statistics statistics() {
  return multiprocessor().statistics();
}

/// Runs kernel(args...) on grid x block threads with `shared` bytes of dynamic shared memory; on return all
/// have ended. Throws KernelError, and what the kernel throws.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Args&&... args) {
  static_assert(((std::is_trivially_copyable_v<Parameters> && !std::is_reference_v<Parameters>)&&...),
                "a kernel's arguments are copied to the device as bytes");
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  const Call call{kernel, std::tuple<Parameters...>(static_cast<Parameters>(args)...)};
  const auto body = [](const void* c) {
    const Call& made = *static_cast<const Call*>(c);
    std::apply(made.kernel, made.arguments);
  };
  multiprocessor().run(grid, block, shared, body, &call);
}

/// The dynamic shared memory of the running block, aligned to 16 bytes.
template <class T>
[[nodiscard]] T* dynamic_shared() {
  return static_cast<T*>(here().dynamic_shared());
}

/// The array that the running block has for this place in the program, `Place` a type that occurs nowhere
/// else.
template <class T, std::size_t count, class Place>
[[nodiscard]] T (&static_shared(Place))[count] {
  static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 16, "shared memory is not initialised");
  struct Array {
    std::uint64_t block = 0;
    void* memory = nullptr;
  };
  static constinit thread_local Array array;
  Multiprocessor& block = here();
  if (array.block != block.block_number())
    array = {block.block_number(), block.declare_shared(sizeof(T) * count)};
  return *static_cast<T(*)[count]>(array.memory);
}

}  // namespace retort::executor

/// An array `type name[count]` that the threads of a block share.
#define RETORT_SHARED(type, name, count) auto& name = ::retort::executor::static_shared<type, (count)>([] {})

#include "device.hpp"
