#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <numeric>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fiber.hpp"
#include "random.hpp"
#include "shared_memory.hpp"
#include "vectors.hpp"

/// As in CUDA: where the running thread is. They mean nothing outside of a kernel.
inline constinit thread_local uint3 threadIdx = {};
inline constinit thread_local uint3 blockIdx = {};
inline constinit thread_local dim3 blockDim = {};
inline constinit thread_local dim3 gridDim = {};

namespace retort::executor {

/// What a GPU would answer with an error, a hang or undefined behaviour. The message names block and thread.
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What an OS thread's launches came to since it started.
struct Statistics {
  std::uint64_t launches = 0, blocks = 0, threads = 0;
  std::uint64_t switches = 0;  ///< from one stack to another
};

/// What threads wait for each other at.
enum class Primitive : unsigned char {
  none,
  syncthreads,
  syncwarp,
  shfl,
  shfl_up,
  shfl_down,
  shfl_xor,
  ballot,
  any,
  all
};

/// Runs the blocks of a grid one after the other on the calling OS thread, and the threads of a block on a
/// stack each. A thread runs until it waits for others or ends; which one goes on then is drawn. One for each
/// OS thread.
class Multiprocessor {
 public:
  using Body = void (*)(const void* call);
  using Where = std::source_location;
  static constexpr unsigned most_threads = 1024, warp_size = 32, all_lanes = 0xffffffff;

  /// Calls body(call) once for each thread of the grid, with `shared` bytes of dynamic shared memory. Throws
  /// KernelError, and what the body throws; the block is abandoned then, the stacks of its threads unwound.
  void run(dim3 grid, dim3 block, std::size_t shared, Body body, const void* call);

  /// Waits until all threads of the block that have not ended are here.
  void synchronize(Where where);

  /// Waits until the lanes of the mask are at the same place, and gives: for the shuffles, what lane `source`
  /// brought, all bits set if it is not one of the mask; for votes, the lanes that brought something other
  /// than 0.
  std::uint64_t exchange(Primitive primitive, unsigned mask, std::uint64_t value, unsigned source,
                         Where where);

  /// Memory for an array that the kernel declares. Throws KernelError if it is more than a block can have.
  void* declare_shared(std::size_t bytes);
  void* dynamic_shared() const { return shared_.dynamic(); }

  /// Another number for each block, never 0.
  std::uint64_t block_number() const { return block_number_; }
  unsigned lane() const { return current_->lane; }

  void set_seed(std::uint64_t seed) { random_ = Random(seed); }
  const Statistics& statistics() const { return statistics_; }

  /// Throws a KernelError about the running thread.
  [[noreturn]] void fail(const std::string& what) const { fail(*current_, what.c_str()); }

 private:
  struct WorkFiber;
  struct Thread {
    uint3 index = {};
    unsigned lane = 0, warp = 0;
    WorkFiber* fiber = nullptr;  ///< of one that has started
    bool ended = false;
    Primitive primitive = Primitive::none;  ///< what it waits at
    unsigned mask = 0, source = 0;
    std::uint64_t value = 0;
    Where where;
  };
  struct WorkFiber : Fiber {
    Thread* thread = nullptr;
  };
  /// Sets of lanes.
  struct Warp {
    unsigned present = 0, ended = 0, waiting = 0;
  };
  /// What a thread of an abandoned block throws to unwind its stack.
  struct Abandoned {};

  void run_block(dim3 block, unsigned threads);
  static void enter();
  [[noreturn]] void work(WorkFiber& self);
  void end(Thread& thread);
  void wait(Thread& thread);
  void jump(Fiber& from, Fiber& to);
  void resume(Thread& thread);
  [[gnu::cold]] void add_fiber();

  void release_block();
  void release_warp(unsigned warp, unsigned mask);
  void check_together(const Thread& one, const Thread& other) const;

  void abandon(std::exception_ptr error);
  [[gnu::cold]] void abandon_deadlock();
  KernelError deadlock() const;
  // Out of the way, so that the functions that are called all the time have small frames.
  [[noreturn, gnu::cold]] void fail(const Thread& thread, const char* what) const;
  [[noreturn, gnu::cold]] void fail_mask(const Thread& thread, unsigned lanes, const char* what) const;
  [[noreturn, gnu::cold]] void fail_apart(const Thread& one, const Thread& other) const;

  void push_in_some_order(Primitive waiting_at);
  void push_back(const Thread& thread);
  void push_front(const Thread& thread);
  Thread& pop();
  Thread& lane_of(unsigned warp, unsigned lane) { return threads_[warp * warp_size + lane]; }

  // the launch
  Body body_ = nullptr;
  const void* call_ = nullptr;

  // the block
  std::uint64_t block_number_ = 0;
  std::vector<Thread> threads_;
  std::array<Warp, most_threads / warp_size> warps_;
  unsigned at_barrier_ = 0, ended_ = 0;
  std::exception_ptr failure_;
  bool abandoned_ = false;
  SharedMemory shared_;

  // threads that can go on: a ring of their numbers
  std::array<std::uint16_t, most_threads> queue_;
  unsigned queue_head_ = 0, queued_ = 0;
  std::array<std::uint16_t, most_threads> order_;      // for push_in_some_order
  std::array<std::uint64_t, warp_size> results_ = {};  // for release_warp

  Thread* current_ = nullptr;
  Fiber main_;
  Fiber* active_ = &main_;
  Fiber* left_ = nullptr;
  StackArena stacks_{most_threads};
  std::vector<std::unique_ptr<WorkFiber>> fibers_;
  std::vector<WorkFiber*> idle_;

  Random random_{0};
  Statistics statistics_;
};

/// The one that runs a kernel on this OS thread, or nullptr.
inline constinit thread_local Multiprocessor* running = nullptr;

/// The one of this OS thread.
inline Multiprocessor& multiprocessor() {
  static thread_local const auto instance = std::make_unique<Multiprocessor>();
  return *instance;
}

/// The one that runs the kernel from which this is called.
inline Multiprocessor& here() {
  if (!running) throw KernelError("device code was called outside of a kernel");
  return *running;
}

}  // namespace retort::executor

#include "multiprocessor_launch.inl"
#include "multiprocessor_threads.inl"
#include "multiprocessor_waits.inl"
