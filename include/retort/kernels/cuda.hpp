#pragma once

#include <array>
#include <vector>

#include "retort/kernels/contract.hpp"
#include "retort/tensor/device.hpp"

/// The kernels of the CUDA device, declared: what host code sees of them. Their text is in
/// kernels/cuda/*.cuh; the library retort::cuda has those of kernels/cuda/*.cu compiled for float and bf16
/// and the shipped policies, and a user's own policy needs one .cu file (docs/how-to/cuda.md).
/// What each does is said where the CPU's is defined, kernels/cpu/*.hpp. All run in the order of one stream;
/// none waits for the device unless it returns a number to the host.
namespace retort::kernels {

template <Real T>
void gemm(CudaDevice, Op op_a, Op op_b, Index m, Index n, Index k, Statistic<T> alpha, const T* a, Index lda,
          const T* b, Index ldb, Statistic<T> beta, T* c, Index ldc);
template <Real T>
void gemm_batched(CudaDevice, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, Statistic<T> alpha,
                  const T* a, Index lda, Index stride_a, const T* b, Index ldb, Index stride_b,
                  Statistic<T> beta, T* c, Index ldc, Index stride_c);
template <Real T>
void linear(CudaDevice, Index rows, Index out, Index in, Statistic<T> scale, const T* x, const T* w,
            const T* bias, T* y, Index stride = 0);

/// y (rows, out) = GELU of pre = x w' + bias (tanh approximation), w (out, in); pre is stored unless it is
/// nullptr. `out` is a multiple of 8.
void linear_gelu(CudaDevice, Index rows, Index out, Index in, const bf16* x, const bf16* w, const bf16* bias,
                 bf16* y, bf16* pre);
/// The way back through the GELU of the next layer's input: d_pre (rows, hidden) = (dy w) * gelu'(pre), dy
/// (rows, out), w (out, hidden).
void linear_gelu_gradient(CudaDevice, Index rows, Index hidden, Index out, const bf16* dy, const bf16* w,
                          const bf16* pre, bf16* d_pre);

void gemm(CudaTf32Device, Op op_a, Op op_b, Index m, Index n, Index k, float alpha, const float* a, Index lda,
          const float* b, Index ldb, float beta, float* c, Index ldc);
void gemm_batched(CudaTf32Device, Index batch, Op op_a, Op op_b, Index m, Index n, Index k, float alpha,
                  const float* a, Index lda, Index stride_a, const float* b, Index ldb, Index stride_b,
                  float beta, float* c, Index ldc, Index stride_c);
void linear(CudaTf32Device, Index rows, Index out, Index in, float scale, const float* x, const float* w,
            const float* bias, float* y, Index stride = 0);

template <Real T, class F, std::same_as<T>... In>
void map(CudaDevice, Write write, Index count, F f, T* out, const In*... in);
template <Real T, class F>
double sum_of(CudaDevice, const T* x, Index count, F f);
template <Real T>
std::vector<double> squared_norms(CudaDevice, const std::vector<std::pair<const T*, Index>>& arrays);
template <Real T>
bool all_finite(CudaDevice, const T* x, Index count);
template <Real From, Real To>
void convert(CudaDevice, Index count, const From* from, To* to);

template <Real T>
void softmax(CudaDevice, Index rows, Index n, const T* x, T* y);
template <Real T>
void softmax_backward(CudaDevice, Write write, Index rows, Index n, const T* y, const T* dy, T* dx);
template <Real T>
void log_softmax(CudaDevice, Index rows, Index n, const T* x, T* y);
template <Real T>
void log_softmax_backward(CudaDevice, Write write, Index rows, Index n, const T* y, const T* dy, T* dx);

template <Real T>
void layer_norm(CudaDevice, Index rows, Index n, const T* x, const T* gain, const T* bias, Statistic<T> eps,
                T* y, Statistic<T>* mean, Statistic<T>* rstd);
template <Real T>
void rms_norm(CudaDevice, Index rows, Index n, const T* x, const T* gain, Statistic<T> eps, T* y,
              Statistic<T>* rstd);
template <Real T>
void norm_backward_input(CudaDevice, Write write, Index rows, Index n, const T* x, const T* gain,
                         const Statistic<T>* mean, const Statistic<T>* rstd, const T* dy, T* dx);
template <Real T>
void norm_backward_gain(CudaDevice, Write write, Index rows, Index n, const T* x, const Statistic<T>* mean,
                        const Statistic<T>* rstd, const T* dy, T* dgain);
template <Real T>
void sum_rows(CudaDevice, Write write, Index rows, Index n, const T* x, T* out, Index stride = 0);
template <Real T>
void add_bias(CudaDevice, Index rows, Index n, const T* bias, T* y);

/// An index outside [0, limit) becomes 0, and the next copy to the host throws the ShapeError.
void require_indices(CudaDevice, const char* op, const char* what, Index count, const std::int32_t* index,
                     Index limit);
template <Real T>
void take_rows(CudaDevice, Index rows, Index n, const T* x, const std::int32_t* index, Statistic<T> scale,
               T* y);
template <Real T>
void scatter_add_rows(CudaDevice, Index rows, Index n, const T* x, const std::int32_t* index,
                      Statistic<T> scale, T* y);
template <Real T>
void copy_rows(CudaDevice, Index rows, Index n, const T* x, Index x_stride, T* y, Index y_stride);
template <Real T>
void append_rows(CudaDevice, const Segments& queries, const Segments& keys, Index n, const T* x,
                 Index x_stride, T* y, Index y_stride);
template <Real T>
void take_transposed(CudaDevice, Index columns, Index heads, const T* table, const std::int32_t* row, T* y);
template <Real T>
void scatter_add_transposed(CudaDevice, Index columns, Index heads, Index table_rows, const T* dy,
                            const std::int32_t* row, T* d_table);

template <Real T>
void rotary(CudaDevice, Write write, const RotaryShape& s, bool inverse, const Statistic<T>* cos,
            const Statistic<T>* sin, const T* x, T* y);

template <Real T>
void attention(CudaDevice, const AttentionShape& shape, const Segments& queries, const Segments& keys,
               const T* q, const T* k, const T* v, const T* bias, T* o, Statistic<T>* lse);
template <Real T>
void attention_backward(CudaDevice, const AttentionShape& shape, const Segments& queries,
                        const Segments& keys, const T* q, const T* k, const T* v, const T* bias, const T* o,
                        const Statistic<T>* lse, const T* d_o, const AttentionGradients<T>& grad);

template <Real T, class Divergence>
void row_loss(CudaDevice, const Divergence& divergence, const RowLossShape& shape, T* student, T* teacher,
              const Statistic<T>* weight, double* loss, const TokenSlopes<T>& slopes = {});
template <Real T>
void cross_entropy(CudaDevice, Index rows, Index vocabulary, T* logits, const std::int32_t* target,
                   const Statistic<T>* weight, bool gradient, double* loss, Index stride = 0);
template <Real T>
void token_log_probabilities(CudaDevice, Index rows, Index vocabulary, const T* logits,
                             const std::int32_t* token, double temperature, Statistic<T>* out,
                             Index stride = 0);
template <Real T, class Divergence>
void sparse_row_loss(CudaDevice, const Divergence& divergence, const SparseRowLossShape& shape, T* student,
                     const std::int32_t* ids, const Statistic<T>* log_p, const Statistic<T>* log_tail,
                     const Statistic<T>* weight, double* loss);
template <Real T>
void top_k_log_probabilities(CudaDevice, const TopKShape& shape, T* logits, std::int32_t* ids,
                             Statistic<T>* log_p, Statistic<T>* log_tail);
template <Real T, class F>
void row_sums(CudaDevice, const F& f, Index rows, Index vs, Index vt, const T* student, const T* teacher,
              double* out, Index student_stride = 0, Index teacher_stride = 0);

template <Real T>
void adamw(CudaDevice, const AdamWStep& s, Index count, T* weight, const T* gradient, T* first, T* second);
/// `adamw` for weights kept in float, `master`, of a model in T: `gradient` is read and `weight`, the
/// master's value rounded, is written in T.
template <Real T>
void adamw_mixed(CudaDevice, const AdamWStep& s, Index count, Statistic<T>* master, const T* gradient,
                 Statistic<T>* first, Statistic<T>* second, T* weight);
template <Real T>
void sgd(CudaDevice, const SgdStep& s, Index count, T* weight, const T* gradient, T* velocity);
template <Real T>
void adafactor_factored(CudaDevice, const AdafactorStep& s, Index matrices, Index rows, Index columns,
                        T* weight, const T* gradient, T* row_moment, T* column_moment, T* first);
template <Real T>
void adafactor_whole(CudaDevice, const AdafactorStep& s, Index count, T* weight, const T* gradient, T* second,
                     T* first);

template <Real T>
void fill_normal(CudaDevice, RandomKey key, Index count, Statistic<T> mean, Statistic<T> deviation, T* x);
template <Real T>
void fill_uniform(CudaDevice, RandomKey key, Index count, Statistic<T> low, Statistic<T> high, T* x);
template <Real T>
void dropout(CudaDevice, Write write, RandomKey key, Index count, double p, const T* x, T* y);

/// Log of the mixture alpha p + (1 - alpha) q of two rows' softmax over their first n logits, q the
/// student's; the mixed rows are n apart. See generate/teacher_mixed.hpp.
template <Real T>
void mix_rows(CudaDevice, double alpha, Index rows, Index n, const T* student, Index student_stride,
              const T* teacher, Index teacher_stride, Statistic<T>* mixed);
template <Real T>
void draw_tokens(CudaDevice, const SamplerSteps& sampler, Index rows, Index vocabulary, T* logits,
                 const double* u, DrawnToken* drawn, Index stride = 0);

}  // namespace retort::kernels
