#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "retort/core/philox.hpp"
#include "retort/core/sampling.hpp"
#include "retort/core/scalar.hpp"

/// The contract between the library and a device. A device is a tag type (`CpuDevice`) plus an overload of
/// each function below with that tag as its first argument: kernels/cpu.hpp, kernels/cuda.hpp. They take raw
/// pointers to contiguous device memory (results that are arrays of double too) and sizes, never tensors;
/// they check nothing (ops do), but for `require_indices`; results do not depend on the number of threads,
/// except that the library behind gemm may round the last bits otherwise on another number.
///
///   gemm            C = alpha op(A) op(B) + beta C
///   map             out[i] (+)= f(in0[i], in1[i], ...), f a functor generic over its number
///   rowwise         softmax, log-softmax, layer norm, RMS norm, bias; their gradients
///   gather          rows by index, deterministic scatter-add, the check of indices, rows into a cache
///   rotary          pairs of columns rotated by an angle of the row
///   attention       softmax(q k' scale + bias) v over ragged segments, forward and backward
///   row_loss        a divergence of two rows of logits; overwrites the student's with its gradient
///   sparse_row_loss the same from the teacher's k most probable tokens and the rest in one bucket
///   top_k           these k of a row of logits, and the log-probability of the rest
///   update          optimizer steps
///   convert         from one number type to another
///   random          normal and uniform fills, dropout masks
namespace retort::kernels {

/// Whether a gemm operand is used as stored, or transposed.
enum class Op : bool { none = false, transpose = true };

/// Row ranges [begin, begin + length) of packed arrays, one a sequence. A padded batch (B, T) is the special
/// case begin = b * T (+ left padding), length = number of valid tokens; a packed one has no padding at all.
struct Segments {
  std::vector<std::int32_t> begin;
  std::vector<std::int32_t> length;
  /// A device's copy of both, made when it first needs one; `SegmentsOnDevice` knows when it is out of date.
  mutable std::shared_ptr<const void> on_device = nullptr;

  [[nodiscard]] std::size_t count() const { return begin.size(); }
  void add(Index first, Index rows) {
    begin.push_back(static_cast<std::int32_t>(first));
    length.push_back(static_cast<std::int32_t>(rows));
  }
  /// Consecutive segments of the given lengths.
  [[nodiscard]] static Segments packed(const std::vector<std::int32_t>& lengths) {
    Segments s;
    Index at = 0;
    for (const auto n : lengths) {
      s.add(at, n);
      at += n;
    }
    return s;
  }
  /// Whether the segments follow each other without a gap and name all of `rows` rows.
  [[nodiscard]] bool covers(Index rows) const {
    Index at = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      if (begin[i] != at) return false;
      at += length[i];
    }
    return at == rows;
  }
  /// One past the last row that any segment names.
  [[nodiscard]] Index end() const {
    Index e = 0;
    for (std::size_t i = 0; i < count(); ++i) e = std::max<Index>(e, Index{begin[i]} + length[i]);
    return e;
  }
};

/// Which columns of a head of rotary width w a rotation turns together: 2i and 2i + 1 (Su et al. 2021,
/// GPT-J), or i and i + w / 2 (GPT-NeoX, LLaMA). The two are permutations of each other.
enum class RotaryLayout : bool { interleaved, halves };

/// Sizes of a rotation: of a row's `columns`, the first `heads * head_width` are heads, of which the first
/// `width` columns are turned.
struct RotaryShape {
  Index rows = 0, columns = 0;
  Index heads = 1, head_width = 0;
  Index width = 0;  ///< even, at most head_width
  RotaryLayout layout = RotaryLayout::halves;
};

/// Elements from a row of n to the next: `stride`, or n if that is 0.
[[nodiscard]] constexpr Index row_stride(Index stride, Index n) {
  return stride == 0 ? n : stride;
}

/// Sizes of an attention: `heads` query heads of `width` read `kv_heads` key/value heads (heads / kv_heads
/// query heads share one). Row r, head h of the queries starts at q + r * q_stride + h * width, and so on.
struct AttentionShape {
  Index heads = 1;
  Index kv_heads = 1;
  Index width = 1;
  Index q_stride = 0, k_stride = 0, v_stride = 0, o_stride = 0;
  double scale = 1;     ///< multiplies q k'
  bool causal = false;  ///< query i of n sees keys [0, keys - n + i]
  /// The bias table is (heads, 2 reach - 1), indexed by key position - query position + reach - 1.
  Index bias_reach = 0;
  double dropout = 0;  ///< probability of dropping an attention weight; the others grow by 1 / (1 - dropout)
  RandomKey key{};     ///< of dropout: a weight's fate depends on (key, query row, head, key position)
};

/// Where attention_backward puts its results; strides as those of q, k, v. All rows named by the segments are
/// written (not accumulated). `bias` (heads, 2 reach - 1) is accumulated; nullptr when not wanted.
template <Real T>
struct AttentionGradients {
  T *q, *k, *v, *bias;
};

/// What a row of logits is compared with, and how.
struct RowLossShape {
  Index rows = 0;
  Index student_vocabulary = 0;  ///< row length of the student's logits
  Index teacher_vocabulary =
      0;                   ///< row length of the teacher's; entries that only one side has get probability 0
  double temperature = 1;  ///< both rows of logits are divided by it
  bool gradient = true;    ///< overwrite the student's logits; otherwise they are only read
  Index student_stride = 0;  ///< elements from a row to the next; 0: the vocabulary, rows follow each other
  Index teacher_stride = 0;
};

/// A second gradient in the pass of a row loss: slope[r] times that of log softmax(logits)[token[r]], over
/// the student's whole vocabulary and without temperature. What a policy gradient adds to a divergence.
template <Real T>
struct TokenSlopes {
  const std::int32_t* token = nullptr;  ///< (rows)
  const Statistic<T>* slope = nullptr;  ///< (rows), or nullptr: none
};

/// What a row of the student's logits is compared with, and how.
struct SparseRowLossShape {
  Index rows = 0;
  Index student_vocabulary = 0;  ///< row length of the student's logits
  Index teacher_vocabulary = 0;  ///< what the teacher's probabilities are of, at most the student's; further
                                 ///< logits of the student get probability 0
  Index k = 0;                   ///< tokens of the teacher a row, from 1 to its vocabulary
  double temperature = 1;        ///< the student's logits are divided by it, as the teacher's were
  bool gradient = true;          ///< overwrite the student's logits; otherwise they are as before
  Index student_stride = 0;      ///< elements from a row to the next; 0: the vocabulary
};

/// Sizes of `top_k_log_probabilities`.
struct TopKShape {
  Index rows = 0;
  Index columns = 0;       ///< row length of the logits
  Index vocabulary = 0;    ///< of them, those that count: the first ones
  Index k = 0;             ///< from 1 to the vocabulary
  double temperature = 1;  ///< divides the logits
};

/// One AdamW step (Loshchilov & Hutter 2019, algorithm 2): decoupled weight decay, bias-corrected moments.
struct AdamWStep {
  double rate, beta1, beta2, epsilon, weight_decay;
  double correction1, correction2;  ///< 1 - beta^step
  double gradient_scale = 1;        ///< clipping, loss scale
};

/// velocity = momentum velocity + gradient + decay weight; weight -= rate velocity (nesterov: rate (gradient
/// + momentum velocity)).
struct SgdStep {
  double rate, momentum, weight_decay;
  bool nesterov = false;
  double gradient_scale = 1;
};

/// One Adafactor step (Shazeer & Stern 2018, algorithms 4 and 5).
struct AdafactorStep {
  double rate;            ///< relative or absolute step size, before the parameter's scale
  double beta1;           ///< 0: no first moment is kept
  double beta2;           ///< decay of the second moment at this step
  double epsilon1;        ///< added to the squared gradient
  double epsilon2;        ///< least scale of a parameter
  double clip_threshold;  ///< largest root mean square of the update
  double weight_decay;
  bool scale_parameter;  ///< multiply the rate by the parameter's root mean square
  double gradient_scale = 1;
};

}  // namespace retort::kernels
