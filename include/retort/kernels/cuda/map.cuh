#pragma once

#include <concepts>
#include <utility>
#include <vector>

#include "retort/core/functors.hpp"
#include "retort/kernels/cuda.hpp"
#include "retort/kernels/cuda/parallel.cuh"

/// Pointwise kernels, sums of all elements, fills and conversions.
namespace retort::kernels {

namespace cuda {
using namespace retort::cuda;

inline constexpr int map_threads = 256;

template <class T, class F, class... In>
__global__ void map_kernel(bool add, bool vectors, Index count, F f, T* out, const In*... in) {
  using N = Statistic<T>;
  const Index thread = Index{blockIdx.x} * blockDim.x + threadIdx.x, threads = Index{gridDim.x} * blockDim.x;
  Index first = 0;  // what the vectors leave over
  if (vectors) {
    constexpr int size = Vector<T>::size;
    const Index whole = count / size;
    for (Index v = thread; v < whole; v += threads) {
      const Vector<T> before = add ? Vector<T>::load(out + v * size) : Vector<T>{};
      Vector<T> result;
      [&](const auto&... loaded) {
#pragma unroll
        for (int i = 0; i < size; ++i) {
          const N value = f(static_cast<N>(loaded.at[i])...);
          result.at[i] = static_cast<T>(add ? static_cast<N>(before.at[i]) + value : value);
        }
      }(Vector<T>::load(in + v * size)...);
      result.store(out + v * size);
    }
    first = whole * size;
  }
  for (Index i = first + thread; i < count; i += threads) {
    const N value = f(static_cast<N>(in[i])...);
    out[i] = static_cast<T>(add ? static_cast<N>(out[i]) + value : value);
  }
}

template <class T>
__global__ void fill_kernel(Index count, T value, T* out) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += Index{gridDim.x} * blockDim.x)
    out[i] = value;
}

template <class From, class To>
__global__ void convert_kernel(Index count, const From* from, To* to) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += Index{gridDim.x} * blockDim.x)
    to[i] = static_cast<To>(static_cast<float>(from[i]));
}

inline constexpr Index sum_block = 1 << 15;  // elements whose sum one block makes

/// part[b] = the sum of f over elements [b sum_block, ...): threads add in float and are added in double.
template <class T, class F>
__global__ void partial_sums_kernel(Index count, F f, const T* x, double* part) {
  RETORT_SHARED(double, place, 32);
  using N = Statistic<T>;
  const Index begin = Index{blockIdx.x} * sum_block,
              end = begin + sum_block < count ? begin + sum_block : count;
  double total = 0;
  for (Index i = begin + threadIdx.x; i < end; i += 8 * Index{blockDim.x}) {
    N sum = 0;
    for (Index j = i; j < end && j < i + 8 * Index{blockDim.x}; j += blockDim.x)
      sum += f(static_cast<N>(x[j]));
    total += static_cast<double>(sum);
  }
  total = block_reduce(total, Sum{}, place);
  if (threadIdx.x == 0) part[blockIdx.x] = total;
}

/// total[b] = part[first[b]] + ... + part[first[b + 1] - 1].
template <class = void>
__global__ void join_sums_kernel(const Index* first, const double* part, double* total) {
  RETORT_SHARED(double, place, 32);
  double sum = 0;
  for (Index i = first[blockIdx.x] + threadIdx.x; i < first[blockIdx.x + 1]; i += blockDim.x) sum += part[i];
  sum = block_reduce(sum, Sum{}, place);
  if (threadIdx.x == 0) total[blockIdx.x] = sum;
}

template <class T>
__global__ void not_finite_kernel(Index count, const T* x, int* found) {
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += Index{gridDim.x} * blockDim.x) {
    const float value = static_cast<float>(x[i]);
    if (!(value - value == 0)) atomicExch(found, 1);
  }
}

}  // namespace cuda

template <Real T, class F, std::same_as<T>... In>
void map(CudaDevice, Write write, Index count, F f, T* out, const In*... in) {
  if (count == 0) return;
  using namespace cuda;
  launch(map_kernel<T, F, In...>, blocks_for(count, map_threads * Vector<T>::size), map_threads, 0,
         write == Write::accumulate, aligned(out, in...), count, f, out, in...);
}

template <Real T, class F>
std::vector<double> sums_of(CudaDevice, const std::vector<std::pair<const T*, Index>>& arrays, F f) {
  using namespace cuda;
  if (arrays.empty()) return {};
  std::vector<Index> first{0};
  for (const auto& [x, count] : arrays) first.push_back(first.back() + (count + sum_block - 1) / sum_block);
  const Scratch parts(static_cast<std::size_t>(first.back() + 1) * sizeof(double));
  const Scratch totals(arrays.size() * sizeof(double)), firsts(first.size() * sizeof(Index));
  for (std::size_t i = 0; i < arrays.size(); ++i)
    if (first[i + 1] > first[i])
      launch(partial_sums_kernel<T, F>, static_cast<unsigned>(first[i + 1] - first[i]), map_threads, 0,
             arrays[i].second, f, arrays[i].first, parts.as<double>() + first[i]);
  upload(first.data(), firsts.as<Index>(), first.size() * sizeof(Index));
  launch(join_sums_kernel<>, static_cast<unsigned>(arrays.size()), 128, 0, firsts.as<Index>(),
         parts.as<double>(), totals.as<double>());
  std::vector<double> out(arrays.size());
  download(totals.as<double>(), out.data(), out.size() * sizeof(double));
  return out;
}

template <Real T, class F>
double sum_of(CudaDevice device, const T* x, Index count, F f) {
  return sums_of<T>(device, {{x, count}}, f)[0];
}

template <Real T>
std::vector<double> squared_norms(CudaDevice device, const std::vector<std::pair<const T*, Index>>& arrays) {
  return sums_of<T>(device, arrays, functors::Square{});
}

template <Real T>
bool all_finite(CudaDevice, const T* x, Index count) {
  using namespace cuda;
  if (count == 0) return true;
  const Scratch found(sizeof(int));
  launch(fill_kernel<int>, 1, 32, 0, 1, 0, found.as<int>());
  launch(not_finite_kernel<T>, blocks_for(count, map_threads * 8), map_threads, 0, count, x, found.as<int>());
  int answer = 0;
  download(found.as<int>(), &answer, sizeof(answer));
  return answer == 0;
}

template <Real From, Real To>
void convert(CudaDevice, Index count, const From* from, To* to) {
  if (count == 0) return;
  using namespace cuda;
  launch(convert_kernel<From, To>, blocks_for(count, map_threads * 8), map_threads, 0, count, from, to);
}

}  // namespace retort::kernels
