// A warp per token and head, the heads of q, k and v in this order. A lane holds pairs
// (i, i + dim/2); all that depends on the position alone is computed while the products still run.
#include "kernels/cuda/qkv_finish.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kWarps = 4;

struct Task {
  __nv_bfloat16* q;         // [tokens, heads, dim]
  const __nv_bfloat16* kv;  // [tokens, k and v, kv_heads, dim]
  void* key;                // [blocks, kv_heads, block_tokens, dim]
  void* value;
  const float* q_gain;  // null: no norm
  const float* k_gain;
  const float* inv_frequency;
  const int32_t* position;
  const int32_t* kv_slot;
  int heads, kv_heads, dim, block_tokens;
  float epsilon;
};

__device__ void store(float* to, float x) { *to = x; }
__device__ void store(__half* to, float x) { *to = __float2half_rn(x); }
__device__ void store(__nv_bfloat16* to, float x) { *to = __float2bfloat16_rn(x); }

// kPairs: of a lane, >= dim / 64.
template <typename Cache, int kPairs>
__global__ void __launch_bounds__(kWarps * 32) finish(Task task) {
  let_next_start();
  const int lane = threadIdx.x % 32;
  const int token = blockIdx.x;
  const int head = blockIdx.y * kWarps + threadIdx.x / 32;
  const int half = task.dim / 2;
  const bool is_q = head < task.heads;
  const bool is_k = !is_q && head < task.heads + task.kv_heads;
  const bool is_there = head < task.heads + 2 * task.kv_heads;
  const float* gain = is_q ? task.q_gain : is_k ? task.k_gain : nullptr;
  float gain_low[kPairs], gain_high[kPairs], sine[kPairs], cosine[kPairs];
  const auto position = static_cast<float>(task.position[token]);
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    const int i = lane + 32 * p;
    gain_low[p] = gain_high[p] = cosine[p] = 1;
    sine[p] = 0;
    if (i >= half) continue;
    if (gain != nullptr) {
      gain_low[p] = gain[i];
      gain_high[p] = gain[i + half];
    }
    if (is_q || is_k) sincosf(position * task.inv_frequency[i], &sine[p], &cosine[p]);
  }
  const int slot = task.kv_slot[token];
  wait_for_previous();
  if (!is_there) return;

  const int kv_head = head - task.heads;  // of k, then of v
  __nv_bfloat16* q = task.q + (int64_t{token} * task.heads + head) * task.dim;
  const __nv_bfloat16* from =
      is_q ? q : task.kv + (int64_t{token} * 2 * task.kv_heads + kv_head) * task.dim;
  float low[kPairs], high[kPairs];
  float squares = 0;
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    const int i = lane + 32 * p;
    low[p] = i < half ? __bfloat162float(from[i]) : 0.0f;
    high[p] = i < half ? __bfloat162float(from[i + half]) : 0.0f;
    squares += low[p] * low[p] + high[p] * high[p];
  }
  float scale = 1;
  if (gain != nullptr) {
    scale = rsqrtf(sum_of_warp(squares) / static_cast<float>(task.dim) + task.epsilon);
  }
  const int in_cache = is_k ? kv_head : kv_head - task.kv_heads;
  const int64_t block = slot / task.block_tokens;
  Cache* to = static_cast<Cache*>(is_k ? task.key : task.value) +
              ((block * task.kv_heads + in_cache) * task.block_tokens + slot % task.block_tokens) *
                  task.dim;
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    const int i = lane + 32 * p;
    if (i >= half) continue;
    const float a = low[p] * scale * gain_low[p];
    const float b = high[p] * scale * gain_high[p];
    const float rotated_a = a * cosine[p] - b * sine[p];
    const float rotated_b = b * cosine[p] + a * sine[p];
    if (is_q) {
      store(q + i, rotated_a);
      store(q + i + half, rotated_b);
    } else {
      store(to + i, rotated_a);
      store(to + i + half, rotated_b);
    }
  }
}

template <typename Cache>
void finish_into(const Stream& on, const Task& task, int tokens) {
  const int heads = task.heads + 2 * task.kv_heads;
  const dim3 grid(static_cast<unsigned>(tokens), static_cast<unsigned>(ceil_div(heads, kWarps)));
  if (task.dim <= 64) return launch(on, finish<Cache, 1>, grid, kWarps * 32, 0, task);
  if (task.dim <= 128) return launch(on, finish<Cache, 2>, grid, kWarps * 32, 0, task);
  CHECK(task.dim <= 256);
  launch(on, finish<Cache, 4>, grid, kWarps * 32, 0, task);
}

}  // namespace

void qkv_finish(const Stream& on, const QkvArgs& args, const RaggedBatch& batch) {
  const auto gain = [](const Tensor& t) { return t.empty() ? nullptr : t.f32(); };
  const Task task = {.q = static_cast<__nv_bfloat16*>(args.q.data),
                     .kv = static_cast<const __nv_bfloat16*>(args.kv_work.data),
                     .key = args.cache.key.data,
                     .value = args.cache.value.data,
                     .q_gain = gain(args.q_gain),
                     .k_gain = gain(args.k_gain),
                     .inv_frequency = args.inv_frequency.f32(),
                     .position = batch.position,
                     .kv_slot = batch.kv_slot,
                     .heads = args.shape.heads,
                     .kv_heads = args.shape.kv_heads,
                     .dim = args.shape.head_dim,
                     .block_tokens = args.shape.block_tokens,
                     .epsilon = args.head_epsilon};
  switch (args.cache.key.dtype) {
    case DType::kF32:
      return finish_into<float>(on, task, batch.num_tokens);
    case DType::kF16:
      return finish_into<__half>(on, task, batch.num_tokens);
    case DType::kBf16:
      return finish_into<__nv_bfloat16>(on, task, batch.num_tokens);
    case DType::kI32:
      CHECK(false);
  }
}

}  // namespace switchyard::cuda
