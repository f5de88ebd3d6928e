// The CUDA runtime behind retort's device: stream, pool, copies, errors. Compiled by the host's compiler.
#include "retort/kernels/cuda/runtime.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include "retort/core/error.hpp"
#include "retort/kernels/cuda/recording.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort::cuda {

namespace {

constexpr int least_major = 8;  // what the kernels are compiled for: Ampere and later

std::string find_problem() {
  int count = 0;
  if (const auto error = cudaGetDeviceCount(&count); error != cudaSuccess)
    return std::string("no CUDA device: ") + cudaGetErrorString(error);
  if (count == 0) return "no CUDA device";
  cudaDeviceProp properties{};
  if (const auto error = cudaGetDeviceProperties(&properties, 0); error != cudaSuccess)
    return std::string("no CUDA device: ") + cudaGetErrorString(error);
  if (properties.major < least_major)
    return fmt::format("the CUDA device {} has compute capability {}.{}, expected {}.0 or later",
                       properties.name, properties.major, properties.minor, least_major);
  return "";
}

/// Pinned memory through which small copies go without waiting, a ring: a place is used again only after the
/// copies that went through it are done.
class Staging {
 public:
  static constexpr std::size_t size = std::size_t{8} << 20, parts = 4, part = size / parts;

  Staging() {
    check(cudaHostAlloc(reinterpret_cast<void**>(&memory_), size, cudaHostAllocDefault),
          "allocate pinned memory");
    for (auto& e : done_) check(cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "create event");
  }
  /// `bytes` of it, at most one part.
  void* place(std::size_t bytes, cudaStream_t stream) {
    bytes = (bytes + 63) / 64 * 64;
    make_room(bytes, stream);
    void* const found = memory_ + at_ * part + used_;
    used_ += bytes;
    return found;
  }
  /// After this the next `bytes` do not wait for copies.
  void make_room(std::size_t bytes, cudaStream_t stream) {
    if (used_ + bytes > part) {
      check(cudaEventRecord(done_[at_], stream), "record event");
      at_ = (at_ + 1) % parts;
      if (wrapped_ || at_ == 0) {
        wrapped_ = true;
        check(cudaEventSynchronize(done_[at_]), "wait for a copy");
      }
      used_ = 0;
    }
  }

 private:
  char* memory_ = nullptr;
  std::array<cudaEvent_t, parts> done_{};
  std::size_t at_ = 0, used_ = 0;
  bool wrapped_ = false;
};

/// What there is once a process: never destroyed, since tensors with static storage may outlive it.
struct Runtime {
  cudaStream_t stream = nullptr;
  int multiprocessors = 0;
  IndexFault* fault = nullptr;
  Staging* staging = nullptr;
  void* pinned_answer = nullptr;  // small results come back through it
  static constexpr std::size_t answer_bytes = 1 << 16;

  Runtime() {
    require_device();
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create stream");
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "device attribute");
    void* memory = nullptr;
    check(cudaMalloc(&memory, sizeof(IndexFault)), "allocate");
    check(cudaMemset(memory, 0, sizeof(IndexFault)), "clear");
    fault = static_cast<IndexFault*>(memory);
    staging = new Staging;
    check(cudaHostAlloc(&pinned_answer, answer_bytes, cudaHostAllocDefault), "allocate pinned memory");
  }
  static Runtime& instance() {
    static Runtime* runtime = new Runtime;
    return *runtime;
  }
};

cudaStream_t the_stream() {
  return Runtime::instance().stream;
}

/// After the stream was waited for.
void report_faults(const IndexFault& seen) {
  if (seen.happened == 0) return;
  check(cudaMemsetAsync(Runtime::instance().fault, 0, sizeof(IndexFault), the_stream()), "clear");
  fail<ShapeError>(seen.op, "{} {} is outside [0, {})", seen.what, seen.index, seen.limit);
}

}  // namespace

std::string why_unavailable() {
  static const std::string problem = find_problem();
  return problem;
}

void require_device() {
  if (const std::string problem = why_unavailable(); !problem.empty())
    fail<DeviceError>("cuda", "{}", problem);
}

std::string describe_device() {
  require_device();
  cudaDeviceProp p{};
  int driver = 0, runtime = 0;
  check(cudaGetDeviceProperties(&p, 0), "describe device");
  check(cudaDriverGetVersion(&driver), "driver version");
  check(cudaRuntimeGetVersion(&runtime), "runtime version");
  return fmt::format("{}, compute capability {}.{}, {} multiprocessors, {} GiB, driver {}.{}, runtime {}.{}",
                     p.name, p.major, p.minor, p.multiProcessorCount, p.totalGlobalMem >> 30, driver / 1000,
                     driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

int multiprocessors() {
  return Runtime::instance().multiprocessors;
}
void* stream() {
  return the_stream();
}
IndexFault* index_fault() {
  return Runtime::instance().fault;
}

void synchronize() {
  IndexFault seen{};
  download(index_fault(), &seen, sizeof(seen));
}

void check(int error, const char* op) {
  if (error == cudaSuccess) return;
  const auto e = static_cast<cudaError_t>(error);
  fail<DeviceError>(op, "CUDA error {} ({}): {}", error, cudaGetErrorName(e), cudaGetErrorString(e));
}

Scratch::Scratch(std::size_t bytes) : block_(Pool<CudaDevice>::instance().allocate(bytes, capacity_)) {}
Scratch::~Scratch() {
  Pool<CudaDevice>::instance().release(block_, capacity_);
}

void upload(const void* from, void* to, std::size_t bytes) {
  if (bytes == 0) return;
  const void* source = from;
  if (recording() != nullptr) return upload_recorded(from, to, bytes);
  auto& runtime = Runtime::instance();
  if (bytes <= Staging::part) {
    void* const staged = runtime.staging->place(bytes, the_stream());
    std::memcpy(staged, from, bytes);
    source = staged;
  }  // from memory that is not pinned the runtime copies before it returns
  check(cudaMemcpyAsync(to, source, bytes, cudaMemcpyHostToDevice, the_stream()), "copy to the device");
}

void download(const void* from, void* to, std::size_t bytes) {
  auto& runtime = Runtime::instance();
  if (recording() != nullptr)
    fail<DeviceError>("record", "a number is wanted from work that is only being recorded");
  const bool small = bytes + sizeof(IndexFault) <= Runtime::answer_bytes;
  auto* const answer = static_cast<char*>(runtime.pinned_answer);
  if (bytes > 0)
    check(cudaMemcpyAsync(small ? answer + sizeof(IndexFault) : to, from, bytes, cudaMemcpyDeviceToHost,
                          runtime.stream),
          "copy to the host");
  check(cudaMemcpyAsync(answer, runtime.fault, sizeof(IndexFault), cudaMemcpyDeviceToHost, runtime.stream),
        "copy to the host");
  check(cudaStreamSynchronize(runtime.stream), "wait for the device");
  IndexFault seen{};
  std::memcpy(&seen, answer, sizeof(seen));
  report_faults(seen);
  if (small && bytes > 0) std::memcpy(to, answer + sizeof(IndexFault), bytes);
}

}  // namespace retort::cuda

namespace retort {

namespace {

/// Sizes are rounded up so that blocks fit again: multiples of 512 bytes, of an eighth of their power of two
/// above.
std::size_t size_class(std::size_t bytes) {
  std::size_t grain = 512;
  while (grain * 16 <= bytes) grain *= 2;
  return (std::max<std::size_t>(bytes, 1) + grain - 1) / grain * grain;
}

}  // namespace

Pool<CudaDevice>& Pool<CudaDevice>::instance() {
  static Pool* pool = new Pool;
  return *pool;
}

void* Pool<CudaDevice>::allocate(std::size_t bytes, std::size_t& capacity) {
  cuda::require_device();
  const std::lock_guard lock(mutex_);
  capacity = size_class(bytes);
  auto found = free_.lower_bound(capacity);
  void* block = nullptr;
  // A block a quarter larger is better than a new one.
  if (found != free_.end() && found->first <= capacity + capacity / 4) {
    capacity = found->first;
    std::ranges::pop_heap(found->second, std::greater{});
    block = found->second.back();
    found->second.pop_back();
    if (found->second.empty()) free_.erase(found);
    statistics_.cached -= capacity;
  } else {
    auto error = cudaMalloc(&block, capacity);
    if (error == cudaErrorMemoryAllocation && cuda::recording() == nullptr) {
      cudaGetLastError();
      trim_locked();
      error = cudaMalloc(&block, capacity);
    }
    if (error != cudaSuccess) {
      cudaGetLastError();
      std::size_t free_bytes = 0, total = 0;
      cudaMemGetInfo(&free_bytes, &total);
      fail<DeviceError>(
          "allocate",
          "{} bytes are not to be had on the cuda device ({}): {} in use, {} cached; the device has {} "
          "of {} bytes free",
          bytes, cudaGetErrorString(error), statistics_.in_use, statistics_.cached, free_bytes, total);
    }
    ++statistics_.system_allocations;
  }
  statistics_.in_use += capacity;
  statistics_.peak_in_use = std::max(statistics_.peak_in_use, statistics_.in_use);
  return block;
}

void Pool<CudaDevice>::release(void* block, std::size_t capacity) noexcept {
  const std::lock_guard lock(mutex_);
  auto& blocks = free_[capacity];
  blocks.push_back(block);
  std::ranges::push_heap(blocks, std::greater{});
  statistics_.in_use -= capacity;
  statistics_.cached += capacity;
}

void Pool<CudaDevice>::trim() {
  const std::lock_guard lock(mutex_);
  trim_locked();
}

void Pool<CudaDevice>::trim_locked() {
  cudaStreamSynchronize(cuda::the_stream());
  cuda::forget_graphs();
  for (auto& [capacity, blocks] : free_)
    for (void* block : blocks) cudaFree(block);
  free_.clear();
  statistics_.cached = 0;
}

PoolStatistics Pool<CudaDevice>::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

void Pool<CudaDevice>::reset_peak() {
  const std::lock_guard lock(mutex_);
  statistics_.peak_in_use = statistics_.in_use;
}

namespace memory {

void copy_bytes(CudaDevice, const void* from, void* to, std::size_t bytes) {
  if (bytes == 0) return;
  cuda::copy_on_device(from, to, bytes);
}
void from_host_bytes(CudaDevice, const void* from, void* to, std::size_t bytes) {
  cuda::upload(from, to, bytes);
}
void to_host_bytes(CudaDevice, const void* from, void* to, std::size_t bytes) {
  cuda::download(from, to, bytes);
}

}  // namespace memory

}  // namespace retort
