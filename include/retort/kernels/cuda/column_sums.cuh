#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"

/// Sums over rows, of the rows or of what the gradient of a gain adds up, in two steps of fixed order.
namespace retort::kernels::cuda {
using namespace retort::cuda;

inline constexpr int column_lanes = 32, row_threads = 8;  // threads of a block that adds rows
inline constexpr int rows_in_flight = 4;                  // read by a thread before it adds them
inline constexpr int parts_in_flight = 8;
inline constexpr int part_lanes = 16;  // at most: threads that add a column's parts

/// `width` neighbouring numbers, read at once: one, or a vector.
template <class T, int width>
struct Columns : Packed<T> {
  static_assert(width == Packed<T>::size);
  __device__ static Columns load(const T* p) { return {Packed<T>::load(p)}; }
};
template <class T>
struct Columns<T, 1> {
  T value;
  __device__ static Columns load(const T* p) { return {*p}; }
  __device__ float operator[](int) const { return static_cast<float>(value); }
};

/// The terms of a sum over rows of x.
template <class T>
struct RowTerm {
  using Number = T;
  Index stride;
  const T* x;

  [[nodiscard]] bool vectors() const { return stride % Vector<T>::size == 0 && aligned(x); }

  template <int width>
  struct Read {
    Columns<T, width> x = {};
    __device__ float operator()(int k) const { return x[k]; }
  };
  template <int width>
  __device__ Read<width> read(Index r, Index j) const {
    return {Columns<T, width>::load(x + r * stride + j)};
  }
};

/// The terms of the gradient of a norm's gain: dy (x - mean) rstd.
template <class T>
struct GainTerm {
  using Number = T;
  Index n;
  const T *x, *dy;
  const float *mean, *rstd;

  [[nodiscard]] bool vectors() const { return n % Vector<T>::size == 0 && aligned(x, dy); }

  template <int width>
  struct Read {
    Columns<T, width> x = {}, dy = {};
    float mean = 0, rstd = 0;
    __device__ float operator()(int k) const { return dy[k] * (x[k] - mean) * rstd; }
  };
  template <int width>
  __device__ Read<width> read(Index r, Index j) const {
    return {Columns<T, width>::load(x + r * n + j), Columns<T, width>::load(dy + r * n + j),
            mean != nullptr ? mean[r] : 0.0f, rstd[r]};
  }
};

/// sum[k] += the terms of row r and every eighth behind it, `rows` together, in column j + k.
template <int width, int rows, class Term>
__device__ void add_rows(Index r, Index j, const Term& term, float* sum) {
  typename Term::template Read<width> read[rows];
#pragma unroll
  for (int i = 0; i < rows; ++i) read[i] = term.template read<width>(r + i * row_threads, j);
#pragma unroll
  for (int i = 0; i < rows; ++i)
#pragma unroll
    for (int k = 0; k < width; ++k) sum[k] += read[i](k);
}

/// part[j], ...: sums over rows `begin` to `end` of a block's 32 `width` columns from `first`; a thread adds
/// every eighth row of `width` columns. `sums`: shared memory for 8 x 32 (width | 1) floats.
template <int width, class Term>
__device__ void sum_columns(Index begin, Index end, Index first, Index last, const Term& term, float* sums,
                            float* part) {
  constexpr int lane_room = width | 1, row_room = column_lanes * lane_room;  // odd: no two lanes in one bank
  const Index j = first + Index{threadIdx.x} * width;
  float sum[width] = {};
  if (j < last) {
    Index r = begin + threadIdx.y;
#pragma unroll 1
    for (; r + (rows_in_flight - 1) * row_threads < end; r += rows_in_flight * row_threads)
      add_rows<width, rows_in_flight>(r, j, term, sum);
#pragma unroll 1
    for (; r < end; r += row_threads) add_rows<width, 1>(r, j, term, sum);
  }
#pragma unroll
  for (int k = 0; k < width; ++k) sums[threadIdx.y * row_room + threadIdx.x * lane_room + k] = sum[k];
  __syncthreads();
  const int column = static_cast<int>(threadIdx.y * column_lanes + threadIdx.x);
  if (column >= column_lanes * width || first + column >= last) return;
  float total = 0;
  for (int t = 0; t < row_threads; ++t)
    total += sums[t * row_room + column / width * lane_room + column % width];
  part[first + column] = total;
}

/// part (blocks of rows, n): sums over `rows_a_part` rows. The first `vectors` columns are read as vectors.
/// Three blocks a multiprocessor: with the registers of more, the compiler reads row after row.
template <class Term>
__global__ void __launch_bounds__(column_lanes* row_threads, 3)
    column_parts_kernel(Index rows, Index rows_a_part, Index n, Index vectors, Term term, float* part) {
  constexpr int size = Vector<typename Term::Number>::size;
  static_assert(size <= row_threads);  // a thread for each column in the end
  RETORT_SHARED(float, sums, row_threads* column_lanes*(size | 1));
  const Index begin = Index{blockIdx.y} * rows_a_part,
              end = begin + rows_a_part < rows ? begin + rows_a_part : rows;
  const Index first = Index{blockIdx.x} * (column_lanes * size);
  part += Index{blockIdx.y} * n;
  if (first < vectors) {
    sum_columns<size>(begin, end, first, vectors, term, sums, part);
  } else {
    const Index blocks = (vectors + column_lanes * size - 1) / (column_lanes * size);
    sum_columns<1>(begin, end, vectors + (blockIdx.x - blocks) * column_lanes, n, term, sums, part);
  }
}

/// out: the sums of part (parts, n) over its rows; threads (32 columns, up to 16 parts).
template <class T>
__global__ void __launch_bounds__(column_lanes* part_lanes)
    join_columns_kernel(bool add, Index parts, Index n, const float* part, T* out) {
  RETORT_SHARED(double, sums, column_lanes* part_lanes);
  const Index j = Index{blockIdx.x} * column_lanes + threadIdx.x;
  double sum = 0;
  if (j < n)
#pragma unroll 1
    for (Index p = threadIdx.y; p < parts; p += Index{blockDim.y} * parts_in_flight) {
      float read[parts_in_flight];
#pragma unroll
      for (int i = 0; i < parts_in_flight; ++i) {
        const Index at = p + Index{blockDim.y} * i;
        read[i] = at < parts ? part[at * n + j] : 0.0f;
      }
#pragma unroll
      for (const float x : read) sum += static_cast<double>(x);
    }
  sums[threadIdx.y * column_lanes + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || j >= n) return;
  for (unsigned t = 1; t < blockDim.y; ++t) sum += sums[t * column_lanes + threadIdx.x];
  out[j] = static_cast<T>(static_cast<float>(sum) + (add ? static_cast<float>(out[j]) : 0.0f));
}

/// How many rows a block adds: 256, or fewer where the blocks would be too few for a large GPU.
[[nodiscard]] inline Index rows_a_part(Index rows, Index blocks_a_row) {
  constexpr Index enough_blocks = 264;
  Index each = 256;
  while (each > row_threads * rows_in_flight && (rows + each - 1) / each * blocks_a_row < enough_blocks)
    each /= 2;
  return each;
}

/// out[j] (+)= sum over parts of part[p, j].
template <class T>
void join_columns(bool add, Index parts, Index n, const float* part, T* out) {
  launch(join_columns_kernel<T>, static_cast<unsigned>((n + column_lanes - 1) / column_lanes),
         dim3(column_lanes, static_cast<unsigned>(std::clamp<Index>(parts, 1, part_lanes))), 0, add, parts, n,
         part, out);
}

/// out[j] (+)= sum over rows of term(r, j).
template <class T, class Term>
void column_sums(Write write, Index rows, Index n, const Term& term, T* out) {
  if (n == 0) return;
  constexpr Index size = Vector<T>::size;
  const auto blocks_of = [](Index columns, Index each) { return (columns + each - 1) / each; };
  const Index vectors = term.vectors() ? n / size * size : 0,
              blocks = blocks_of(vectors, column_lanes * size) + blocks_of(n - vectors, column_lanes),
              each = rows_a_part(rows, blocks), parts = (rows + each - 1) / each;
  const Scratch scratch(static_cast<std::size_t>(std::max<Index>(1, parts * n)) * sizeof(float));
  if (parts > 0)
    launch(column_parts_kernel<Term>, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(parts)),
           dim3(column_lanes, row_threads), 0, rows, each, n, vectors, term, scratch.as<float>());
  join_columns(write == Write::accumulate, parts, n, scratch.as<float>(), out);
}

}  // namespace retort::kernels::cuda
