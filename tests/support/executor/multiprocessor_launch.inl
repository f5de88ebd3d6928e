// Multiprocessor: what a launch asks for, and its blocks. Included by multiprocessor.hpp.
namespace retort::executor {

inline std::string text(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}
inline std::string text(dim3 v) {
  return text(make_uint3(v.x, v.y, v.z));
}
inline std::string text(const std::source_location& where) {
  const std::string file = where.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
}

/// Throws KernelError if compute capability 9.0 has no such grid, block or dynamic shared memory.
inline void check_launch(dim3 grid, dim3 block, std::size_t shared) {
  const auto fail = [](const std::string& what) { throw KernelError("launch: " + what); };
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) fail("a grid of " + text(grid) + " blocks");
  if (block.x == 0 || block.y == 0 || block.z == 0) fail("a block of " + text(block) + " threads");
  if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    fail("a grid of " + text(grid) + " blocks; (2147483647, 65535, 65535) is the most");
  if (block.x > 1024 || block.y > 1024 || block.z > 64 ||
      std::uint64_t{block.x} * block.y * block.z > Multiprocessor::most_threads)
    fail("a block of " + text(block) + " threads; 1024 is the most, 64 along z");
  if (shared > SharedMemory::most)
    fail(std::to_string(shared) + " bytes of dynamic shared memory; " + std::to_string(SharedMemory::most) +
         " is the most");
}

inline void Multiprocessor::run(dim3 grid, dim3 block, std::size_t shared, Body body, const void* call) {
  check_launch(grid, block, shared);
  if (running) running->fail("a kernel cannot launch a kernel");
  struct Running {
    explicit Running(Multiprocessor* self) { running = self; }
    ~Running() { running = nullptr; }
  } const scope(this);
  body_ = body;
  call_ = call;
  gridDim = grid;
  blockDim = block;
  ++statistics_.launches;

  // Blocks in some order, too: every `step`th of them, where `step` and their number have no common divisor.
  const std::uint64_t rows = std::uint64_t{grid.y} * grid.z, count = grid.x * rows;
  std::uint64_t step = 1 + random_.below(count), at = random_.below(count);
  while (std::gcd(step, count) != 1) ++step;
  step %= count;
  const unsigned threads = block.x * block.y * block.z;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t row = at / grid.x;
    blockIdx = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(row % grid.y),
                static_cast<unsigned>(row / grid.y)};
    shared_.begin_block(shared);
    run_block(block, threads);
    at = at >= count - step ? at - (count - step) : at + step;
  }
}

inline void Multiprocessor::run_block(dim3 block, unsigned threads) {
  ++block_number_;
  ++statistics_.blocks;
  statistics_.threads += threads;
  threads_.assign(threads, {});
  warps_.fill({});
  at_barrier_ = ended_ = 0;
  abandoned_ = false;
  uint3 index = {};
  for (unsigned i = 0; i < threads; ++i) {
    Thread& thread = threads_[i];
    thread.index = index;
    thread.lane = i % warp_size;
    thread.warp = i / warp_size;
    warps_[thread.warp].present |= 1u << thread.lane;
    if (++index.x == block.x) index.x = 0, ++index.y;
    if (index.y == block.y) index.y = 0, ++index.z;
  }
  push_in_some_order(Primitive::none);
  Thread& first = pop();
  resume(first);
  jump(main_, *first.fiber);
  current_ = nullptr;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

inline void* Multiprocessor::declare_shared(std::size_t bytes) {
  if (void* const memory = shared_.declare(bytes)) return memory;
  fail("an array of " + std::to_string(bytes) + " bytes beside " + std::to_string(shared_.static_bytes()) +
       " of static and " + std::to_string(shared_.dynamic_bytes()) + " of dynamic shared memory; " +
       std::to_string(SharedMemory::most_static) + " static and " + std::to_string(SharedMemory::most) +
       " together are the most");
}

}  // namespace retort::executor
