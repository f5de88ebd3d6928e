#pragma once

#include "retort/kernels/cuda/column_sums.cuh"
#include "retort/kernels/cuda/query_row.cuh"

/// The gradient of a bias by distance (T5): for each head and distance the sum of the score gradients of all
/// pairs of a query and a key that far apart. No two threads add to one number, and every sum has a fixed
/// order.
namespace retort::kernels::cuda {

/// part (blocks of queries * sequences, heads, 2 reach - 1): the sums of `queries_a_block` queries. Grid
/// (blocks of queries, heads, sequences). A warp goes through its queries one after the other, its lanes
/// through the keys, which have different distances; dynamic shared memory: warps * (2 reach - 1) floats.
template <class T>
__global__ void bias_gradient_kernel(AttentionProblem<T> a, Index queries_a_block, float* part) {
  const Index distances = 2 * a.shape.bias_reach - 1, h = blockIdx.y, b = blockIdx.z;
  const unsigned warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size,
                 warps = blockDim.x / warp_size;
  float* sums = dynamic_shared<float>();
  for (Index d = threadIdx.x; d < warps * distances; d += blockDim.x) sums[d] = 0;
  __syncthreads();
  float* mine = sums + warp * distances;
  const Index n = a.queries.length[b], begin = Index{blockIdx.x} * queries_a_block;
  const Index end = begin + queries_a_block < n ? begin + queries_a_block : n;
  for (Index i = begin + warp; i < end; i += warps) {
    const QueryRow<T> row{a, b, h, i};
    const Index seen = row.seen(), to = a.shape.bias_reach - 1 - row.position();
    for (Index j = lane; j < seen; j += warp_size) mine[j + to] += row.d_score(j, row.probability(j));
    __syncwarp();  // the next query's lanes have other distances
  }
  __syncthreads();
  const Index block = b * gridDim.x + blockIdx.x;
  float* out = part + (block * gridDim.y + h) * distances;
  for (Index d = threadIdx.x; d < distances; d += blockDim.x) {
    float sum = 0;
    for (unsigned w = 0; w < warps; ++w) sum += sums[w * distances + d];
    out[d] = sum;
  }
}

/// d_bias (heads, 2 reach - 1) += the gradient, from the log-sum-exp and delta of `a`. A reach whose sums no
/// multiprocessor can hold (about 29,000 on an H100) is the launch's DeviceError.
template <class T>
void bias_gradient(const AttentionProblem<T>& a, Index longest_queries, Index sequences, T* d_bias) {
  const Index distances = 2 * a.shape.bias_reach - 1, heads = a.shape.heads;
  const auto bytes = [&](Index warps) { return static_cast<std::size_t>(warps * distances) * sizeof(float); };
  constexpr std::size_t most = 200 * 1024;
  const Index warps = bytes(4) <= most ? 4 : 1;
  const Index each = longest_queries <= 256 ? 32 : 128, blocks = (longest_queries + each - 1) / each;
  const Scratch part(static_cast<std::size_t>(blocks * sequences * heads * distances) * sizeof(float));
  launch(bias_gradient_kernel<T>,
         dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(heads), static_cast<unsigned>(sequences)),
         static_cast<unsigned>(warps * warp_size), bytes(warps), a, each, part.as<float>());
  join_columns(true, blocks * sequences, heads * distances, part.as<float>(), d_bias);
}

}  // namespace retort::kernels::cuda
