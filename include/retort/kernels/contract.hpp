#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "retort/core/philox.hpp"
#include "retort/core/scalar.hpp"
#include "retort/core/shape.hpp"

/// The contract between the library and a device. A device is a tag type (`CpuDevice`) plus an overload of
/// each function below with that tag as its first argument. They take raw pointers to contiguous device
/// memory and sizes, never tensors; they check nothing (ops do); results do not depend on the number of
/// threads, except that the library behind gemm may round the last bits otherwise on another number.
///
///   gemm            C = alpha op(A) op(B) + beta C
///   map             out[i] (+)= f(in0[i], in1[i], ...), f a functor generic over its number
///   rowwise         softmax, log-softmax, layer norm, RMS norm, bias; their gradients
///   gather          rows by index, deterministic scatter-add
///   rotary          pairs of columns rotated by an angle of the row
///   attention       softmax(q k' scale + bias) v over ragged segments, forward and backward
///   row_loss        a divergence of two rows of logits; overwrites the student's with its gradient
///   sparse_row_loss the same from the teacher's k most probable tokens and the rest in one bucket
///   top_k           these k of a row of logits, and the log-probability of the rest
///   update          optimizer steps
///   random          normal and uniform fills, dropout masks
namespace retort::kernels {

/// Whether a gemm operand is used as stored, or transposed.
enum class Op : bool { none = false, transpose = true };

/// Row ranges [begin, begin + length) of packed arrays, one a sequence. A padded batch (B, T) is the special
/// case begin = b * T (+ left padding), length = number of valid tokens; a packed one has no padding at all.
struct Segments {
  std::vector<std::int32_t> begin;
  std::vector<std::int32_t> length;

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

}  // namespace retort::kernels
