#pragma once

#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"
#include "retort/kernels/cuda/segments.cuh"
#include "retort/kernels/cuda/sort.cuh"

/// Rows by index. Sums of rows that share an index are made by one block in the order of rows: the same bits
/// in every run.
namespace retort::kernels {

namespace cuda {
using namespace retort::cuda;

inline constexpr int gather_threads = 128;

/// Reports the first index it finds outside [0, limit), and makes 0 of all of them.
template <class = void>
__global__ void require_indices_kernel(Index count, std::int32_t* index, Index limit, IndexFault* fault,
                                       const char* op, const char* what) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    const std::int32_t found = index[i];
    if (found >= 0 && found < limit) continue;
    index[i] = 0;
    auto* happened = reinterpret_cast<unsigned long long*>(&fault->happened);
    if (atomicCAS(happened, 0ull, 1ull) != 0ull) continue;
    fault->index = found;
    fault->limit = limit;
    fault->op = op;
    fault->what = what;
  }
}

template <class T>
__global__ void take_rows_kernel(bool vectors, Index n, const T* x, const std::int32_t* index, float scale,
                                 T* y) {
  const Index from = Index{index[blockIdx.x]} * n, to = Index{blockIdx.x} * n;
  if (vectors) {
    constexpr int size = Vector<T>::size;
    for (Index i = Index{threadIdx.x} * size; i < n; i += Index{blockDim.x} * size) {
      auto v = Vector<T>::load(x + from + i);
      if (scale != 1)
        for (int j = 0; j < size; ++j) v.at[j] = static_cast<T>(static_cast<float>(v.at[j]) * scale);
      v.store(y + to + i);
    }
  } else {
    for (Index i = threadIdx.x; i < n; i += blockDim.x)
      y[to + i] = scale == 1 ? x[from + i] : static_cast<T>(static_cast<float>(x[from + i]) * scale);
  }
}

/// One block for each place in the sorted order of indices: it adds all rows of its index, in their order, if
/// it has the first of them, else nothing. `index` is sorted, row position[i] of x has the index index[i].
template <class T>
__global__ void scatter_add_rows_kernel(bool vectors, Index rows, Index n, const T* x,
                                        const std::int32_t* index, const std::int32_t* position, float scale,
                                        T* y) {
  constexpr int size = Vector<T>::size, at_once = 4;  // rows whose loads are under way together
  const Index first = blockIdx.x;
  const std::int32_t mine = index[first];
  if (first > 0 && index[first - 1] == mine) return;
  T* to = y + Index{mine} * n;
  if (!vectors) {
    for (Index j = threadIdx.x; j < n; j += blockDim.x) {
      float sum = static_cast<float>(to[j]);
      for (Index i = first; i < rows && index[i] == mine; ++i)
        sum += scale * static_cast<float>(x[Index{position[i]} * n + j]);
      to[j] = static_cast<T>(sum);
    }
    return;
  }
  for (Index j = Index{threadIdx.x} * size; j < n; j += Index{blockDim.x} * size) {
    float sum[size];
    auto v = Vector<T>::load(to + j);
#pragma unroll
    for (int c = 0; c < size; ++c) sum[c] = static_cast<float>(v.at[c]);
    Index i = first;
    for (; i + at_once <= rows && index[i + at_once - 1] == mine; i += at_once) {
      Vector<T> loaded[at_once];
#pragma unroll
      for (int r = 0; r < at_once; ++r) loaded[r] = Vector<T>::load(x + Index{position[i + r]} * n + j);
#pragma unroll
      for (int r = 0; r < at_once; ++r)
#pragma unroll
        for (int c = 0; c < size; ++c) sum[c] += scale * static_cast<float>(loaded[r].at[c]);
    }
    for (; i < rows && index[i] == mine; ++i) {
      const auto one = Vector<T>::load(x + Index{position[i]} * n + j);
#pragma unroll
      for (int c = 0; c < size; ++c) sum[c] += scale * static_cast<float>(one.at[c]);
    }
#pragma unroll
    for (int c = 0; c < size; ++c) v.at[c] = static_cast<T>(sum[c]);
    v.store(to + j);
  }
}

/// One row, by the block.
template <class T>
__device__ void copy_row(bool vectors, Index n, const T* x, T* y) {
  if (vectors) {
    constexpr int size = Vector<T>::size;
    for (Index i = Index{threadIdx.x} * size; i < n; i += Index{blockDim.x} * size)
      Vector<T>::load(x + i).store(y + i);
  } else {
    for (Index i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i];
  }
}

template <class T>
__global__ void copy_rows_kernel(bool vectors, Index n, const T* x, Index x_stride, T* y, Index y_stride) {
  copy_row(vectors, n, x + Index{blockIdx.x} * x_stride, y + Index{blockIdx.x} * y_stride);
}

template <class T>
__global__ void append_rows_kernel(bool vectors, SegmentsView queries, SegmentsView keys, Index n, const T* x,
                                   Index x_stride, T* y, Index y_stride) {
  const Index row = blockIdx.x, b = blockIdx.y, rows = queries.length[b];
  if (row >= rows) return;
  const Index to = Index{keys.begin[b]} + keys.length[b] - rows + row, from = Index{queries.begin[b]} + row;
  copy_row(vectors, n, x + from * x_stride, y + to * y_stride);
}

/// Whether rows that far apart can be copied by 16 bytes.
template <class T>
[[nodiscard]] bool rows_copy_by_vectors(Index n, const T* x, Index x_stride, const T* y, Index y_stride) {
  constexpr Index size = Vector<T>::size;
  return n % size == 0 && x_stride % size == 0 && y_stride % size == 0 && aligned(x, y);
}

template <class T>
__global__ void take_transposed_kernel(Index columns, Index heads, const T* table, const std::int32_t* row,
                                       T* y) {
  const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < columns * heads) y[i] = table[Index{row[i % columns]} * heads + i / columns];
}

template <class T>
__global__ void scatter_add_transposed_kernel(Index columns, Index heads, Index table_rows, const T* dy,
                                              const std::int32_t* row, T* d_table) {
  const Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= table_rows * heads) return;
  const Index r = i / heads, h = i % heads;
  float sum = 0;
  for (Index c = 0; c < columns; ++c)
    if (row[c] == r) sum += static_cast<float>(dy[h * columns + c]);
  d_table[i] = static_cast<T>(static_cast<float>(d_table[i]) + sum);
}

}  // namespace cuda

template <Real T>
void take_rows(CudaDevice, Index rows, Index n, const T* x, const std::int32_t* index, Statistic<T> scale,
               T* y) {
  if (rows * n == 0) return;
  const bool vectors = n % cuda::Vector<T>::size == 0 && cuda::aligned(x, y);
  cuda::launch(cuda::take_rows_kernel<T>, static_cast<unsigned>(rows), cuda::gather_threads, 0, vectors, n, x,
               index, scale, y);
}

template <Real T>
void scatter_add_rows(CudaDevice, Index rows, Index n, const T* x, const std::int32_t* index,
                      Statistic<T> scale, T* y) {
  if (rows * n == 0) return;
  const cuda::SortedIndices sorted(rows, index);
  const bool vectors = n % cuda::Vector<T>::size == 0 && cuda::aligned(x, y);
  cuda::launch(cuda::scatter_add_rows_kernel<T>, static_cast<unsigned>(rows), cuda::gather_threads, 0,
               vectors, rows, n, x, sorted.index(), sorted.position(), scale, y);
}

template <Real T>
void copy_rows(CudaDevice, Index rows, Index n, const T* x, Index x_stride, T* y, Index y_stride) {
  if (rows * n == 0) return;
  cuda::launch(cuda::copy_rows_kernel<T>, static_cast<unsigned>(rows), cuda::gather_threads, 0,
               cuda::rows_copy_by_vectors<T>(n, x, x_stride, y, y_stride), n, x, x_stride, y, y_stride);
}

template <Real T>
void append_rows(CudaDevice, const Segments& queries, const Segments& keys, Index n, const T* x,
                 Index x_stride, T* y, Index y_stride) {
  const Index longest = cuda::longest(queries);
  if (longest * n == 0) return;
  const cuda::SegmentsOnDevice on_q(queries), on_k(keys);
  cuda::launch(cuda::append_rows_kernel<T>,
               dim3(static_cast<unsigned>(longest), static_cast<unsigned>(queries.count())),
               cuda::gather_threads, 0, cuda::rows_copy_by_vectors<T>(n, x, x_stride, y, y_stride),
               on_q.view(), on_k.view(), n, x, x_stride, y, y_stride);
}

template <Real T>
void take_transposed(CudaDevice, Index columns, Index heads, const T* table, const std::int32_t* row, T* y) {
  if (columns * heads == 0) return;
  cuda::launch(cuda::take_transposed_kernel<T>, static_cast<unsigned>((columns * heads + 127) / 128), 128, 0,
               columns, heads, table, row, y);
}

template <Real T>
void scatter_add_transposed(CudaDevice, Index columns, Index heads, Index table_rows, const T* dy,
                            const std::int32_t* row, T* d_table) {
  if (table_rows * heads == 0) return;
  cuda::launch(cuda::scatter_add_transposed_kernel<T>, static_cast<unsigned>((table_rows * heads + 63) / 64),
               64, 0, columns, heads, table_rows, dy, row, d_table);
}

}  // namespace retort::kernels
