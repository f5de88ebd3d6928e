#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__) && !defined(RETORT_EXECUTOR_UCONTEXT)
#define RETORT_EXECUTOR_UCONTEXT 1
#endif
#if defined(RETORT_EXECUTOR_UCONTEXT)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/// Stacks that one OS thread runs on in turn, and the switch between them.
namespace retort::executor {

/// A stack and, while it is left, where it goes on. One without memory of its own stands for the OS thread's
/// stack.
struct Fiber {
#if defined(RETORT_EXECUTOR_UCONTEXT)
  ucontext_t context = {};
#else
  void* stack_pointer = nullptr;
#endif
  const void* bottom = nullptr;  ///< the lowest address, as the address sanitizer wants to know it
  std::size_t size = 0;
  void* fake_stack = nullptr;  ///< the address sanitizer's, of a fiber that is left
};

#if !defined(RETORT_EXECUTOR_UCONTEXT)
/// Puts the callee-saved registers (System V ABI, without the floating point control words, which nobody here
/// changes) on this stack and its pointer into *from; goes on where the stack `to` was left.
__attribute__((naked, noinline)) inline void switch_stack(void** /*from*/, void* /*to*/) {
  asm("pushq %rbp\n\t"
      "pushq %rbx\n\t"
      "pushq %r12\n\t"
      "pushq %r13\n\t"
      "pushq %r14\n\t"
      "pushq %r15\n\t"
      "movq %rsp, (%rdi)\n\t"
      "movq %rsi, %rsp\n\t"
      "popq %r15\n\t"
      "popq %r14\n\t"
      "popq %r13\n\t"
      "popq %r12\n\t"
      "popq %rbx\n\t"
      "popq %rbp\n\t"
      "ret");
}
#endif

/// To be called first on a stack that has just been entered: `self` is its fiber, `left` the one it was
/// entered from.
inline void entered([[maybe_unused]] Fiber& self, [[maybe_unused]] Fiber& left) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(self.fake_stack, &left.bottom, &left.size);
#endif
}

/// Leaves the stack of `from` for that of `to`. The caller calls entered() when this returns.
inline void leave(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#if defined(RETORT_EXECUTOR_UCONTEXT)
  swapcontext(&from.context, &to.context);
#else
  switch_stack(&from.stack_pointer, to.stack_pointer);
#endif
}

/// Room for `count` stacks; only what is touched takes memory. Below each is a page that must not be touched.
class StackArena {
 public:
  explicit StackArena(std::size_t count) : bytes_(count * stride) {
    memory_ =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
  }
  StackArena(const StackArena&) = delete;
  StackArena& operator=(const StackArena&) = delete;
  ~StackArena() {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(memory_, bytes_);
#endif
    munmap(memory_, bytes_);
  }

  /// Makes `fiber` one that calls `entry`, which must not return, on the stack of this number.
  void prepare(Fiber& fiber, std::size_t number, void (*entry)()) {
    char* const lowest = static_cast<char*>(memory_) + number * stride;
    if (mprotect(lowest, guard, PROT_NONE) != 0) throw std::bad_alloc();
    fiber.bottom = lowest + guard;
    // Tops that lie a whole number of pages apart would share the few places the first cache has for them.
    fiber.size = stride - guard - number % 64 * 192;
#if defined(RETORT_EXECUTOR_UCONTEXT)
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = lowest + guard;
    fiber.context.uc_stack.ss_size = fiber.size;
    makecontext(&fiber.context, entry, 0);
#else
    void** const top = reinterpret_cast<void**>(lowest + guard + fiber.size);
    top[-1] = nullptr;  // to where `entry` would return
    top[-2] = reinterpret_cast<void*>(entry);
    fiber.stack_pointer = top - 8;  // under six registers
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
#endif
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t stride = 256 * 1024;
#else
  static constexpr std::size_t stride = 128 * 1024;
#endif
  static constexpr std::size_t guard = 4096;

  std::size_t bytes_;
  void* memory_;
};

}  // namespace retort::executor
