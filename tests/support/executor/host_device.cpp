// The CUDA runtime and cuBLASLt as the host executor has them: memory is the host's, products are plain
// loops. With the kernels compiled for the executor this is the library retort::cuda on a machine without a
// GPU.
#include <bit>
#include <cstdlib>
#include <cstring>

#include "executor/executor.hpp"
#include "retort/core/activations.hpp"
#include "retort/core/error.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/recording.hpp"
#include "retort/kernels/cuda/runtime.hpp"
#include "retort/tensor/tensor.hpp"

namespace retort::cuda {

std::string why_unavailable() {
  return "";
}
void require_device() {}
std::string describe_device() {
  return "host executor";
}
int multiprocessors() {
  return 2;
}
void* stream() {
  return nullptr;
}

IndexFault* index_fault() {
  static IndexFault fault{};
  return &fault;
}

void check(int error, const char* op) {
  if (error != 0) fail<DeviceError>(op, "error {}", error);
}

void synchronize() {
  IndexFault& fault = *index_fault();
  if (fault.happened == 0) return;
  const IndexFault seen = fault;
  fault = {};
  fail<ShapeError>(seen.op, "{} {} is outside [0, {})", seen.what, seen.index, seen.limit);
}

Scratch::Scratch(std::size_t bytes) : block_(Pool<CudaDevice>::instance().allocate(bytes, capacity_)) {}
Scratch::~Scratch() {
  Pool<CudaDevice>::instance().release(block_, capacity_);
}

// Launches are done at once: nothing is recorded.
Recording* recording() {
  return nullptr;
}
void begin_recording() {}
void drop_recording() noexcept {}
void issue_recording() {}
void forget_graphs() {}
void use_graphs(bool) {}
bool graphs_are_used() {
  return true;
}
GraphStatistics graph_statistics() {
  return {};
}

void upload(const void* from, void* to, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void download(const void* from, void* to, std::size_t bytes) {
  synchronize();
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace retort::cuda

namespace retort {

// Every block is the system's, so that the address sanitizer knows its bounds; new ones hold NaN.
Pool<CudaDevice>& Pool<CudaDevice>::instance() {
  static Pool* pool = new Pool;
  return *pool;
}
void* Pool<CudaDevice>::allocate(std::size_t bytes, std::size_t& capacity) {
  const std::lock_guard lock(mutex_);
  capacity = bytes;
  void* const block = std::aligned_alloc(256, (std::max<std::size_t>(bytes, 1) + 255) / 256 * 256);
  if (block == nullptr) fail<DeviceError>("allocate", "{} bytes are not to be had", bytes);
  std::memset(block, 0xff, (std::max<std::size_t>(bytes, 1) + 255) / 256 * 256);
  statistics_.in_use += bytes;
  statistics_.peak_in_use = std::max(statistics_.peak_in_use, statistics_.in_use);
  ++statistics_.system_allocations;
  return block;
}
void Pool<CudaDevice>::release(void* block, std::size_t capacity) noexcept {
  const std::lock_guard lock(mutex_);
  std::free(block);
  statistics_.in_use -= capacity;
}
void Pool<CudaDevice>::trim() {}
PoolStatistics Pool<CudaDevice>::statistics() const {
  return statistics_;
}
void Pool<CudaDevice>::reset_peak() {
  statistics_.peak_in_use = statistics_.in_use;
}

namespace memory {

void copy_bytes(CudaDevice, const void* from, void* to, std::size_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
}
void from_host_bytes(CudaDevice, const void* from, void* to, std::size_t bytes) {
  cuda::upload(from, to, bytes);
}
void to_host_bytes(CudaDevice, const void* from, void* to, std::size_t bytes) {
  cuda::download(from, to, bytes);
}

}  // namespace memory

namespace kernels {

namespace {

/// A float with TF32's 10 bits of fraction, rounded to the nearest.
float to_tf32(float x) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 0x1000u) & ~0x1fffu);
}

template <class T>
void multiply(bool tf32, Op op_a, Op op_b, Index m, Index n, Index k, float alpha, const T* a, Index lda,
              const T* b, Index ldb, float beta, T* c, Index ldc, const T* bias) {
  const auto number = [tf32](T x) {
    return static_cast<double>(tf32 ? to_tf32(static_cast<float>(x)) : static_cast<float>(x));
  };
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) {
      double sum = 0;
      for (Index l = 0; l < k; ++l)
        sum += number(op_a == Op::none ? a[i * lda + l] : a[l * lda + i]) *
               number(op_b == Op::none ? b[l * ldb + j] : b[j * ldb + l]);
      float value = alpha * static_cast<float>(sum);
      if (beta != 0) value += beta * static_cast<float>(c[i * ldc + j]);
      if (bias != nullptr) value += static_cast<float>(bias[j]);
      c[i * ldc + j] = static_cast<T>(value);
    }
}

}  // namespace

template <Real T>
void gemm(CudaDevice, Op op_a, Op op_b, Index m, Index n, Index k, Statistic<T> alpha, const T* a, Index lda,
          const T* b, Index ldb, Statistic<T> beta, T* c, Index ldc) {
  multiply<T>(false, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, nullptr);
}
template <Real T>
void gemm_batched(CudaDevice, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, Statistic<T> alpha,
                  const T* a, Index lda, Index stride_a, const T* b, Index ldb, Index stride_b,
                  Statistic<T> beta, T* c, Index ldc, Index stride_c) {
  for (Index i = 0; i < batch; ++i)
    multiply<T>(false, op_a, op_b, m, n, k, alpha, a + i * stride_a, lda, b + i * stride_b, ldb, beta,
                c + i * stride_c, ldc, nullptr);
}
template <Real T>
void linear(CudaDevice, Index rows, Index out, Index in, Statistic<T> scale, const T* x, const T* w,
            const T* bias, T* y, Index stride) {
  multiply<T>(false, Op::none, Op::transpose, rows, out, in, scale, x, in, w, in, 0, y,
              row_stride(stride, out), bias);
}

void gemm(CudaTf32Device, Op op_a, Op op_b, Index m, Index n, Index k, float alpha, const float* a, Index lda,
          const float* b, Index ldb, float beta, float* c, Index ldc) {
  multiply<float>(true, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, nullptr);
}
void gemm_batched(CudaTf32Device, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, float alpha,
                  const float* a, Index lda, Index stride_a, const float* b, Index ldb, Index stride_b,
                  float beta, float* c, Index ldc, Index stride_c) {
  for (Index i = 0; i < batch; ++i)
    multiply<float>(true, op_a, op_b, m, n, k, alpha, a + i * stride_a, lda, b + i * stride_b, ldb, beta,
                    c + i * stride_c, ldc, nullptr);
}
void linear(CudaTf32Device, Index rows, Index out, Index in, float scale, const float* x, const float* w,
            const float* bias, float* y, Index stride) {
  multiply<float>(true, Op::none, Op::transpose, rows, out, in, scale, x, in, w, in, 0, y,
                  row_stride(stride, out), bias);
}

// cuBLASLt rounds no sum before the GELU or its derivative has seen it.
void linear_gelu(CudaDevice, Index rows, Index out, Index in, const bf16* x, const bf16* w, const bf16* bias,
                 bf16* y, bf16* pre) {
  for (Index r = 0; r < rows; ++r)
    for (Index j = 0; j < out; ++j) {
      double sum = static_cast<double>(static_cast<float>(bias[j]));
      for (Index i = 0; i < in; ++i)
        sum += static_cast<double>(static_cast<float>(x[r * in + i])) *
               static_cast<double>(static_cast<float>(w[j * in + i]));
      if (pre != nullptr) pre[r * out + j] = static_cast<bf16>(static_cast<float>(sum));
      y[r * out + j] = static_cast<bf16>(static_cast<float>(GeluTanh{}.value(sum)));
    }
}
void linear_gelu_gradient(CudaDevice, Index rows, Index hidden, Index out, const bf16* dy, const bf16* w,
                          const bf16* pre, bf16* d_pre) {
  for (Index r = 0; r < rows; ++r)
    for (Index j = 0; j < hidden; ++j) {
      double sum = 0;
      for (Index i = 0; i < out; ++i)
        sum += static_cast<double>(static_cast<float>(dy[r * out + i])) *
               static_cast<double>(static_cast<float>(w[i * hidden + j]));
      sum *= GeluTanh{}.slope(static_cast<double>(static_cast<float>(pre[r * hidden + j])));
      d_pre[r * hidden + j] = static_cast<bf16>(static_cast<float>(sum));
    }
}

#define RETORT_HOST_GEMM(T)                                                                               \
  template void gemm<T>(CudaDevice, Op, Op, Index, Index, Index, float, const T*, Index, const T*, Index, \
                        float, T*, Index);                                                                \
  template void gemm_batched<T>(CudaDevice, Index, Op, Op, Index, Index, Index, float, const T*, Index,   \
                                Index, const T*, Index, Index, float, T*, Index, Index);                  \
  template void linear<T>(CudaDevice, Index, Index, Index, float, const T*, const T*, const T*, T*, Index);

RETORT_HOST_GEMM(float)
RETORT_HOST_GEMM(bf16)

}  // namespace kernels

}  // namespace retort

namespace retort::test {

// Declared by tests/unit/device/support.hpp.
int thread_orders();
void set_thread_order(std::uint64_t order);

int thread_orders() {
  return 20;
}
void set_thread_order(std::uint64_t order) {
  executor::set_seed(order);
}

}  // namespace retort::test
