// Products of matrices on the CUDA device.
#include "retort/kernels/cpu.hpp"
#include "retort/kernels/cuda.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;
using kernels::Op;

namespace {

struct Size {
  Index m, n, k;
};
constexpr Size sizes[] = {{0, 4, 4},   {4, 0, 4},    {1, 1, 1},    {1, 130, 7},  {7, 17, 33},
                          {33, 1, 17}, {64, 64, 64}, {130, 33, 7}, {17, 64, 130}};

constexpr Op ops[] = {Op::none, Op::transpose};

std::string str(const Size& s, Op a, Op b) {
  return std::to_string(s.m) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k) +
         (a == Op::transpose ? ", A transposed" : "") + (b == Op::transpose ? ", B transposed" : "");
}

}  // namespace

TEMPLATE_TEST_CASE("products on the device are the CPU's for all transposes and leading dimensions", "",
                   float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& s : sizes)
    for (const Op op_a : ops)
      for (const Op op_b : ops)
        for (const Index more : {0, 3, 8})  // columns behind those of the product; no kernel may touch C's
          for (const float beta : {0.0f, 1.0f, -0.5f}) {
            const bool ta = op_a == Op::transpose, tb = op_b == Op::transpose;
            const Index lda = (ta ? s.m : s.k) + more, ldb = (tb ? s.k : s.n) + more, ldc = s.n + more;
            const auto a = Uploaded<T>::normal((ta ? s.k : s.m) * lda, 1);
            const auto b = Uploaded<T>::normal((tb ? s.n : s.k) * ldb, 2);
            const auto before = beta == 0 ? Numbers(static_cast<std::size_t>(s.m * ldc), std::nan(""))
                                          : normals<double>(s.m * ldc, 3);
            auto want = Uploaded<T>(before).host;
            kernels::gemm(CpuDevice{}, op_a, op_b, s.m, s.n, s.k, 0.7, a.host.data(), lda, b.host.data(), ldb,
                          static_cast<double>(beta), want.data(), ldc);
            Uploaded<T> c(before);
            kernels::gemm<T>(CudaDevice{}, op_a, op_b, s.m, s.n, s.k, 0.7f, a, lda, b, ldb, beta, c, ldc);
            INFO(str(s, op_a, op_b) << ", " << more << " more columns, beta " << beta);
            CHECK(error_of(c.now(), want) <= device_tolerance<T>);
          }
}

TEMPLATE_TEST_CASE("products on the device whose rows are aligned and whose extents are not are the CPU's",
                   "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& s : {Size{131, 69, 77}, Size{72, 97, 64}, Size{97, 72, 70}, Size{64, 128, 65}})
    for (const Op op_a : ops)
      for (const Op op_b : ops)
        for (const float beta : {0.0f, 1.0f}) {
          const bool ta = op_a == Op::transpose, tb = op_b == Op::transpose;
          const auto stride = [](Index columns) { return (columns + 7) / 8 * 8; };
          const Index lda = stride(ta ? s.m : s.k), ldb = stride(tb ? s.k : s.n), ldc = stride(s.n);
          const auto a = Uploaded<T>::normal((ta ? s.k : s.m) * lda, 1);
          const auto b = Uploaded<T>::normal((tb ? s.n : s.k) * ldb, 2);
          const auto before = normals<double>(s.m * ldc, 3);
          auto want = Uploaded<T>(before).host;
          kernels::gemm(CpuDevice{}, op_a, op_b, s.m, s.n, s.k, 0.7, a.host.data(), lda, b.host.data(), ldb,
                        static_cast<double>(beta), want.data(), ldc);
          Uploaded<T> c(before);
          kernels::gemm<T>(CudaDevice{}, op_a, op_b, s.m, s.n, s.k, 0.7f, a, lda, b, ldb, beta, c, ldc);
          INFO(str(s, op_a, op_b) << ", beta " << beta);
          CHECK(error_of(c.now(), want) <= device_tolerance<T>);
          if constexpr (std::same_as<T, float>) {  // in TF32 the extents matter as in bf16
            Uploaded<float> rounded(before);
            kernels::gemm(CudaTf32Device{}, op_a, op_b, s.m, s.n, s.k, 0.7f, a, lda, b, ldb, beta, rounded,
                          ldc);
            CHECK(error_of(rounded.now(), want) <= 2e-3);
          }
        }
}

TEMPLATE_TEST_CASE("products of batches on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& s : {Size{1, 1, 1}, Size{7, 17, 33}, Size{33, 16, 8}})
    for (const Index batch : {0, 1, 5})
      for (const Op op_a : ops)
        for (const Op op_b : ops)
          for (const float beta : {0.0f, 1.0f}) {
            const bool ta = op_a == Op::transpose, tb = op_b == Op::transpose;
            const Index lda = ta ? s.m : s.k, ldb = tb ? s.k : s.n;
            const Index stride_a = s.m * s.k + 5, stride_b = 0, stride_c = s.m * s.n + 3;  // one B for all
            const auto a = Uploaded<T>::normal(batch * stride_a, 1);
            const auto b = Uploaded<T>::normal(s.n * s.k, 2);
            const auto before = normals<double>(batch * stride_c, 3);
            auto want = Uploaded<T>(before).host;
            kernels::gemm_batched(CpuDevice{}, batch, op_a, op_b, s.m, s.n, s.k, 1.0, a.host.data(), lda,
                                  stride_a, b.host.data(), ldb, stride_b, static_cast<double>(beta),
                                  want.data(), s.n, stride_c);
            Uploaded<T> c(before);
            kernels::gemm_batched<T>(CudaDevice{}, batch, op_a, op_b, s.m, s.n, s.k, 1.0f, a, lda, stride_a,
                                     b, ldb, stride_b, beta, c, s.n, stride_c);
            INFO(batch << " of " << str(s, op_a, op_b));
            CHECK(error_of(c.now(), want) <= device_tolerance<T>);
          }
}

TEMPLATE_TEST_CASE("linear maps with and without bias on the device are the CPU's", "", float, bf16) {
  RETORT_NEED_DEVICE();
  using T = TestType;
  for (const auto& s : sizes)  // rows, out, in
    for (const bool with_bias : {false, true}) {
      const auto x = Uploaded<T>::normal(s.m * s.k, 1), w = Uploaded<T>::normal(s.n * s.k, 2),
                 bias = Uploaded<T>::normal(s.n, 3);
      Numbers want(static_cast<std::size_t>(s.m * s.n));
      kernels::linear(CpuDevice{}, s.m, s.n, s.k, 0.5, x.host.data(), w.host.data(),
                      with_bias ? bias.host.data() : nullptr, want.data());
      auto y = Uploaded<T>::room(s.m * s.n);
      kernels::linear<T>(CudaDevice{}, s.m, s.n, s.k, 0.5f, x, w,
                         with_bias ? static_cast<const T*>(bias) : nullptr, y);
      INFO(str(s, Op::none, Op::transpose) << ", bias " << with_bias);
      CHECK(error_of(y.now(), want) <= device_tolerance<T>);
    }
}
