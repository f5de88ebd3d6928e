// Matrix products by cuBLASLt. Compiled by the host's compiler.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <mutex>
#include <tuple>

#include "retort/core/error.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/recording.hpp"
#include "retort/kernels/cuda/runtime.hpp"

namespace retort::kernels {

namespace {

void check_blas(cublasStatus_t status, const char* op) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fail<DeviceError>(op, "cuBLASLt: {} ({})", cublasLtGetStatusString(status), static_cast<int>(status));
}

template <class T>
constexpr cudaDataType_t type_of = std::is_same_v<T, bf16> ? CUDA_R_16BF : CUDA_R_32F;

/// A product as cuBLASLt sees it: column-major, so C' = op(B)' op(A)'.
struct Call {
  cudaDataType_t type;
  bool tf32;  ///< products of float may be rounded
  cublasLtEpilogue_t epilogue;
  bool transpose_a, transpose_b, accumulate;
  Index m, n, k, lda, ldb, ldc;
  Index batch, stride_a, stride_b, stride_c;
  int alignment;  ///< of all operands, in bytes, at most 16

  auto key() const {
    return std::tuple(type, tf32, epilogue, transpose_a, transpose_b, accumulate, m, n, k, lda, ldb, ldc,
                      batch, stride_a, stride_b, stride_c, alignment);
  }
  friend bool operator<(const Call& a, const Call& b) { return a.key() < b.key(); }
};

/// Descriptors and the algorithm that cuBLASLt proposes for a call.
struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

/// Once a process, as the device and its stream.
class Library {
 public:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

  static Library& instance() {
    static Library* library = new Library;
    return *library;
  }

  void multiply(const Call& call, float alpha, const void* a, const void* b, float beta, void* c,
                const void* bias, const void* auxiliary) {
    const Plan* plan = nullptr;
    {
      const std::lock_guard lock(mutex_);
      plan = &plan_of(call);
    }
    cuda::submit(Multiplication{plan, alpha, beta, a, b, c, bias, auxiliary});
  }

 private:
  /// One product whose plan is known.
  struct Multiplication {
    const Plan* plan;
    float alpha, beta;
    const void *a, *b;
    void* c;
    const void *bias, *auxiliary;

    void operator()() const { instance().issue(*this); }
  };

  void issue(const Multiplication& m) {
    const std::lock_guard lock(mutex_);
    const Plan& plan = *m.plan;
    const auto point = [&](cublasLtMatmulDescAttributes_t what, const void* to) {
      if (to != nullptr)
        check_blas(cublasLtMatmulDescSetAttribute(plan.product, what, &to, sizeof(to)), "gemm");
    };
    point(CUBLASLT_MATMUL_DESC_BIAS_POINTER, m.bias);
    point(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, m.auxiliary);
    check_blas(cublasLtMatmul(handle_, plan.product, &m.alpha, m.a, plan.a, m.b, plan.b, &m.beta, m.c, plan.c,
                              m.c, plan.c, &plan.algorithm, workspace_, workspace_bytes,
                              static_cast<cudaStream_t>(cuda::stream())),
               "gemm");
  }

  std::mutex mutex_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::map<Call, Plan> plans_;

  Library() {
    cuda::require_device();
    check_blas(cublasLtCreate(&handle_), "cuBLASLt");
    cuda::check(cudaMalloc(&workspace_, workspace_bytes), "allocate a workspace");
  }

  const Plan& plan_of(const Call& call) {
    const auto found = plans_.find(call);
    if (found != plans_.end()) return found->second;
    Plan p;
    check_blas(cublasLtMatmulDescCreate(
                   &p.product, call.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "gemm");
    const auto set = [&](cublasLtMatmulDescAttributes_t what, const auto& value) {
      check_blas(cublasLtMatmulDescSetAttribute(p.product, what, &value, sizeof(value)), "gemm");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, call.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, call.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, call.epilogue);
    if (call.epilogue != CUBLASLT_EPILOGUE_DEFAULT && call.epilogue != CUBLASLT_EPILOGUE_BIAS)
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, static_cast<std::int64_t>(call.ldc));
    p.a = layout(call, call.transpose_a ? call.k : call.m, call.transpose_a ? call.m : call.k, call.lda,
                 call.stride_a);
    p.b = layout(call, call.transpose_b ? call.n : call.k, call.transpose_b ? call.k : call.n, call.ldb,
                 call.stride_b);
    p.c = layout(call, call.m, call.n, call.ldc, call.stride_c);
    cublasLtMatmulPreference_t preference = nullptr;
    check_blas(cublasLtMatmulPreferenceCreate(&preference), "gemm");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
      check_blas(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof(value)), "gemm");
    };
    const auto alignment = static_cast<std::uint32_t>(call.alignment);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
    cublasLtMatmulHeuristicResult_t best{};
    int count = 0;
    const auto status =
        cublasLtMatmulAlgoGetHeuristic(handle_, p.product, p.a, p.b, p.c, p.c, preference, 1, &best, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    check_blas(status, "gemm");
    if (count == 0)
      fail<DeviceError>("gemm", "cuBLASLt has no algorithm for ({}, {}) times ({}, {}) in {}", call.n, call.k,
                        call.k, call.m, call.type == CUDA_R_16BF ? "bfloat16" : "float32");
    p.algorithm = best.algo;
    return plans_.emplace(call, p).first->second;
  }

  static cublasLtMatrixLayout_t layout(const Call& call, Index rows, Index columns, Index ld, Index stride) {
    cublasLtMatrixLayout_t made = nullptr;
    check_blas(cublasLtMatrixLayoutCreate(&made, call.type, static_cast<std::uint64_t>(rows),
                                          static_cast<std::uint64_t>(columns), ld),
               "gemm");
    if (call.batch > 1) {
      const auto batch = static_cast<std::int32_t>(call.batch);
      const std::int64_t offset = stride;
      check_blas(
          cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof(batch)),
          "gemm");
      check_blas(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset,
                                                  sizeof(offset)),
                 "gemm");
    }
    return made;
  }
};

/// The largest power of two up to 16 that divides a place and a stride of rows.
int alignment_of(const void* p, Index ld, std::size_t size) {
  const auto bits = reinterpret_cast<std::uintptr_t>(p) | (static_cast<std::uintptr_t>(ld) * size) | 16u;
  return static_cast<int>(bits & (~bits + 1));
}

/// One product, row-major.
template <class T>
struct Product {
  bool tf32;
  Index batch;
  Op op_a, op_b;
  Index m, n, k;
  float alpha;
  const T* a;
  Index lda, stride_a;
  const T* b;
  Index ldb, stride_b;
  float beta;
  T* c;
  Index ldc, stride_c;
  const T* bias;
  cublasLtEpilogue_t epilogue = bias != nullptr ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  const T* auxiliary = nullptr;  ///< rows as far apart as C's

  [[nodiscard]] int alignment() const {
    return std::min({alignment_of(a, lda, sizeof(T)), alignment_of(b, ldb, sizeof(T)),
                     alignment_of(c, ldc, sizeof(T)), alignment_of(bias, 0, sizeof(T)),
                     alignment_of(auxiliary, 0, sizeof(T))});
  }
  /// Columns [begin, end) of C, rows of C, or terms of its sums.
  [[nodiscard]] Product columns(Index begin, Index end) const {
    Product p = *this;
    p.n = end - begin;
    p.b += op_b == Op::none ? begin : begin * ldb;
    p.c += begin;
    if (bias != nullptr) p.bias += begin;
    return p;
  }
  [[nodiscard]] Product rows(Index begin, Index end) const {
    Product p = *this;
    p.m = end - begin;
    p.a += op_a == Op::none ? begin * lda : begin;
    p.c += begin * ldc;
    return p;
  }
  [[nodiscard]] Product terms(Index begin, Index end) const {
    Product p = *this;
    p.k = end - begin;
    p.a += op_a == Op::none ? begin : begin * lda;
    p.b += op_b == Op::none ? begin * ldb : begin;
    return p;
  }
};

template <class T>
void multiply_whole(const Product<T>& p) {
  // Row-major C (m, n) is column-major C' (n, m) = op_b(B)' op_a(A)': the operands change places.
  const Call call{.type = type_of<T>,
                  .tf32 = p.tf32,
                  .epilogue = p.epilogue,
                  .transpose_a = p.op_b == Op::transpose,
                  .transpose_b = p.op_a == Op::transpose,
                  .accumulate = p.beta != 0,
                  .m = p.n,
                  .n = p.m,
                  .k = p.k,
                  .lda = std::max<Index>(p.ldb, 1),
                  .ldb = std::max<Index>(p.lda, 1),
                  .ldc = p.ldc,
                  .batch = p.batch,
                  .stride_a = p.stride_b,
                  .stride_b = p.stride_a,
                  .stride_c = p.stride_c,
                  .alignment = p.alignment()};
  Library::instance().multiply(call, p.alpha, p.b, p.a, p.beta, p.c, p.bias, p.auxiliary);
}

/// What is left of an extent that runs along memory and is not a multiple of 16 bytes: cuBLASLt then has none
/// but its slowest kernels, even where rows begin at 16 bytes (a head of 50,257 tokens on an H100: 86 TFLOP/s
/// in the place of 660). So this rest, at most seven rows, columns or terms, is a product of its own.
template <class T>
void multiply(const Product<T>& p) {
  if (p.batch == 0 || p.m == 0 || p.n == 0) return;
  constexpr Index grain = 16 / sizeof(T), worth = 64;
  const auto uneven = [](Index extent) { return extent > worth && extent % grain != 0; };
  const auto even = [](Index extent) { return extent / grain * grain; };
  const bool tensor_cores = p.tf32 || std::is_same_v<T, bf16>;
  if (tensor_cores && p.batch == 1 && p.alignment() == 16) {
    if (uneven(p.n)) {  // C's columns are always contiguous
      multiply(p.columns(0, even(p.n)));
      return multiply_whole(p.columns(even(p.n), p.n));
    }
    if (uneven(p.m) && p.op_a == Op::transpose) {
      multiply(p.rows(0, even(p.m)));
      return multiply_whole(p.rows(even(p.m), p.m));
    }
    if (uneven(p.k) && (p.op_a == Op::none || p.op_b == Op::transpose) && p.bias == nullptr) {
      multiply_whole(p.terms(even(p.k), p.k));  // the little one first: it is what is rounded once more
      Product rest = p.terms(0, even(p.k));
      rest.beta = 1;
      return multiply(rest);
    }
  }
  multiply_whole(p);
}

}  // namespace

template <Real T>
void gemm(CudaDevice, Op op_a, Op op_b, Index m, Index n, Index k, Statistic<T> alpha, const T* a, Index lda,
          const T* b, Index ldb, Statistic<T> beta, T* c, Index ldc) {
  multiply<T>({false, 1, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, nullptr});
}

template <Real T>
void gemm_batched(CudaDevice, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, Statistic<T> alpha,
                  const T* a, Index lda, Index stride_a, const T* b, Index ldb, Index stride_b,
                  Statistic<T> beta, T* c, Index ldc, Index stride_c) {
  multiply<T>({false, batch, op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
               stride_c, nullptr});
}

template <Real T>
void linear(CudaDevice, Index rows, Index out, Index in, Statistic<T> scale, const T* x, const T* w,
            const T* bias, T* y, Index stride) {
  multiply<T>({false, 1, Op::none, Op::transpose, rows, out, in, scale, x, in, 0, w, in, 0, 0.0f, y,
               row_stride(stride, out), 0, bias});
}

void gemm(CudaTf32Device, Op op_a, Op op_b, Index m, Index n, Index k, float alpha, const float* a, Index lda,
          const float* b, Index ldb, float beta, float* c, Index ldc) {
  multiply<float>({true, 1, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, nullptr});
}

void gemm_batched(CudaTf32Device, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, float alpha,
                  const float* a, Index lda, Index stride_a, const float* b, Index ldb, Index stride_b,
                  float beta, float* c, Index ldc, Index stride_c) {
  multiply<float>({true, batch, op_a, op_b, m, n, k, alpha, a, lda, stride_a, b, ldb, stride_b, beta, c, ldc,
                   stride_c, nullptr});
}

void linear(CudaTf32Device, Index rows, Index out, Index in, float scale, const float* x, const float* w,
            const float* bias, float* y, Index stride) {
  multiply<float>({true, 1, Op::none, Op::transpose, rows, out, in, scale, x, in, 0, w, in, 0, 0.0f, y,
                   row_stride(stride, out), 0, bias});
}

void linear_gelu(CudaDevice, Index rows, Index out, Index in, const bf16* x, const bf16* w, const bf16* bias,
                 bf16* y, bf16* pre) {
  if (rows == 0 || out == 0) return;
  multiply_whole<bf16>(
      {false, 1,   Op::none, Op::transpose,
       rows,  out, in,       1.0f,
       x,     in,  0,        w,
       in,    0,   0.0f,     y,
       out,   0,   bias,     pre != nullptr ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS,
       pre});
}

// Not CUBLASLT_EPILOGUE_DGELU_BGRAD, which would sum the rows as well: CUDA 13.0 on an H100 has a kernel of
// its own for it, 670 us for 32,768 x 3,072, twice what product and derivative take together.
void linear_gelu_gradient(CudaDevice, Index rows, Index hidden, Index out, const bf16* dy, const bf16* w,
                          const bf16* pre, bf16* d_pre) {
  if (rows == 0 || hidden == 0) return;
  multiply_whole<bf16>(
      {false, 1, Op::none, Op::none, rows, hidden, out,    1.0f, dy,      out,
       0,     w, hidden,   0,        0.0f, d_pre,  hidden, 0,    nullptr, CUBLASLT_EPILOGUE_DGELU,
       pre});
}

#define RETORT_CUDA_GEMM(T)                                                                               \
  template void gemm<T>(CudaDevice, Op, Op, Index, Index, Index, float, const T*, Index, const T*, Index, \
                        float, T*, Index);                                                                \
  template void gemm_batched<T>(CudaDevice, Index, Op, Op, Index, Index, Index, float, const T*, Index,   \
                                Index, const T*, Index, Index, float, T*, Index, Index);                  \
  template void linear<T>(CudaDevice, Index, Index, Index, float, const T*, const T*, const T*, T*, Index);

RETORT_CUDA_GEMM(float)
RETORT_CUDA_GEMM(bf16)

}  // namespace retort::kernels
