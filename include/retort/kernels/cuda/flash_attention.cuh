#pragma once

#include "retort/kernels/cuda/flash_backward.cuh"
#include "retort/kernels/cuda/flash_forward.cuh"

/// Attention of bf16 heads by tensor cores, with memory linear in the sequence length: products of bf16 are
/// added in float, the weights are rounded to bf16 before they meet the values. The same numbers on every
/// run.
namespace retort::cuda {

/// Whether heads of this width are written for tensor cores.
[[nodiscard]] constexpr bool flash_supports(std::int64_t width) {
  return width == 32 || width == 64 || width == 128;
}

/// Writes o and lse of the rows that the query segments name, for heads of `width` (flash_supports); a query
/// that sees no key gives 0 and -inf. At most 65535 sequences and heads.
inline void flash_forward(int width, const FlashArguments& a) {
  if (a.sequences == 0 || a.longest_queries == 0) return;
  if (width == 32) detail::flash_forward<32>(a);
  if (width == 64) detail::flash_forward<64>(a);
  if (width == 128) detail::flash_forward<128>(a);
}

/// Writes dq of the rows that the query segments name, dk and dv of those of the key segments (0 where no
/// query sees them), which must be disjoint; nothing is added to what was there. `lse` and `o` are the
/// forward pass's.
inline void flash_backward(int width, const FlashArguments& a) {
  if (a.sequences == 0) return;
  if (width == 32) detail::flash_backward<32>(a);
  if (width == 64) detail::flash_backward<64>(a);
  if (width == 128) detail::flash_backward<128>(a);
}

}  // namespace retort::cuda
