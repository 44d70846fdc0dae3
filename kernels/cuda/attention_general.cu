// A block per token and head; its warps take groups of 32 keys in turn. In a group a lane holds the
// logit of one key, then a share of the output's elements.
#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/attention_task.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMostDim = 256;
constexpr int kShare = kMostDim / 32;

__device__ float to_float(float x) { return x; }
__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// The last row that begins at or before `token`: rows without tokens begin where the next does.
__device__ int row_of(const AttentionTask& task, int token) {
  int low = 0;
  int high = task.rows;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (task.row_start[middle] <= token ? low : high) = middle;
  }
  return low;
}

template <typename Cache>
__global__ void __launch_bounds__(kWarps * 32) attend(AttentionTask task) {
  __shared__ float query[kMostDim];
  __shared__ float sums[kWarps][kMostDim];
  __shared__ float2 softmax[kWarps];  // largest logit, sum of exponentials
  let_next_start();
  wait_for_previous();
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int token = blockIdx.x;
  const int head = blockIdx.y;
  const int dim = task.head_dim;
  const int64_t place = (int64_t{token} * task.heads() + head) * dim;
  const float scale = task.scale * 1.4426950408889634f;
  for (int d = threadIdx.x; d < dim; d += kWarps * 32) {
    query[d] = __bfloat162float(task.q[place + d]) * scale;
  }
  __syncthreads();

  const int row = row_of(task, token);
  const int visible = task.kv_len[row] - (task.row_start[row + 1] - token) + 1;
  const int32_t* blocks = task.block_id + task.block_start[row];
  const auto cached = [&](const void* cache, int key) {
    const int64_t block = blocks[key / task.block_tokens];
    return static_cast<const Cache*>(cache) +
           ((block * task.kv_heads + head / task.group) * task.block_tokens +
            key % task.block_tokens) *
               dim;
  };
  float largest = minus_infinity();
  float total = 0;
  float sum[kShare] = {};
  for (int first = warp * 32; first < visible; first += kWarps * 32) {
    float logit = minus_infinity();
    if (first + lane < visible) {
      const Cache* key = cached(task.key, first + lane);
      logit = 0;
      for (int d = 0; d < dim; ++d) logit += query[d] * to_float(key[d]);
    }
    const float before = largest;
    largest = fmaxf(largest, max_of_warp(logit));
    const float shrink = exp2f(before - reference_of(largest));
    const float weight = exp2f(logit - reference_of(largest));
    total = total * shrink + sum_of_warp(weight);
#pragma unroll
    for (int e = 0; e < kShare; ++e) sum[e] *= shrink;
    const int keys = min(32, visible - first);
    for (int k = 0; k < keys; ++k) {
      const float one = __shfl_sync(~0u, weight, k);
      const Cache* value = cached(task.value, first + k);
#pragma unroll
      for (int e = 0; e < kShare; ++e) {
        if (lane + 32 * e < dim) sum[e] += one * to_float(value[lane + 32 * e]);
      }
    }
  }
#pragma unroll
  for (int e = 0; e < kShare; ++e) sums[warp][lane + 32 * e] = sum[e];
  if (lane == 0) softmax[warp] = {largest, total};
  __syncthreads();

  largest = minus_infinity();
  for (const float2& one : softmax) largest = fmaxf(largest, one.x);
  float factor[kWarps];
  total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    factor[w] = exp2f(softmax[w].x - reference_of(largest));
    total += softmax[w].y * factor[w];
  }
  for (int d = threadIdx.x; d < dim; d += kWarps * 32) {
    float out = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) out += sums[w][d] * factor[w];
    task.out[place + d] = __float2bfloat16_rn(total > 0 ? out / total : 0.0f);
  }
}

}  // namespace

void attention_general(const Stream& on, const AttentionTask& task, DType cache) {
  CHECK(task.head_dim <= kMostDim);
  const dim3 grid(static_cast<unsigned>(task.tokens), static_cast<unsigned>(task.heads()));
  switch (cache) {
    case DType::kF32:
      return launch(on, attend<float>, grid, kWarps * 32, 0, task);
    case DType::kF16:
      return launch(on, attend<__half>, grid, kWarps * 32, 0, task);
    case DType::kBf16:
      return launch(on, attend<__nv_bfloat16>, grid, kWarps * 32, 0, task);
    case DType::kI32:
      CHECK(false);
  }
}

}  // namespace switchyard::cuda
