// From scores to choices: the experts of a token, their weights, and few choices sorted by expert.
#pragma once

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

struct Router {
  const __nv_bfloat16* x;
  const float* gain;  // null: x is used as it is
  const int32_t* gather;
  __nv_bfloat16* normed;
  float epsilon;
  int tokens, width, experts;
  const char* weight;
  const float* bias;  // may be null
  int top_k;
  const int32_t* live_tokens;  // may be null
  bool renormalise;
  float renormalise_epsilon, scale;
  int32_t* expert;
  float* chosen_weight;
  int32_t* order;
  int32_t* expert_start;
};

// Floats in the order of unsigned integers; NaN is the least, as -infinity.
__device__ __forceinline__ uint32_t rank_of(float selection) {
  if (isnan(selection)) return 0x007fffffu;
  const uint32_t bits = __float_as_uint(selection + 0.0f);  // of -0, too, those of 0
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// The same of up to 32 experts, a lane each: an expert's place is the number of those before it.
__device__ __forceinline__ void choose_of_warp(
    const Router& args, int token, const float* score, const float* bias, int32_t* entry) {
  const int lane = threadIdx.x % 32;
  const float mine = lane < args.experts ? score[lane] : 0.0f;
  const uint32_t rank = lane < args.experts ? rank_of(mine + bias[lane]) : 0u;
  int place = 0;
#pragma unroll
  for (int other = 0; other < 32; ++other) {
    const uint32_t its = __shfl_sync(~0u, rank, other);
    place += its > rank || (its == rank && other < lane) ? 1 : 0;
  }
  float total = 0;
  for (int k = 0; k < args.top_k; ++k) {
    const unsigned there = __ballot_sync(~0u, place == k);
    total += __shfl_sync(~0u, mine, __ffs(static_cast<int>(there)) - 1);
  }
  if (place >= args.top_k) return;
  const float divisor = args.renormalise ? total + args.renormalise_epsilon : 1.0f;
  const int64_t at = int64_t{token} * args.top_k + place;
  entry[place] = lane;
  args.expert[at] = lane;
  args.chosen_weight[at] = __fdiv_rn(mine, divisor) * args.scale;
}

// A warp chooses top_k experts of one token. `score` and `bias` are in shared memory.
__device__ __forceinline__ void choose(
    const Router& args, int token, const float* score, const float* bias, int32_t* entry) {
  const int lane = threadIdx.x % 32;
  uint32_t taken = 0;  // bit i: expert lane + 32 i
  float total = 0;
  for (int k = 0; k < args.top_k; ++k) {
    uint32_t best = 0;
    uint32_t id = ~0u;
    for (int e = lane, i = 0; e < args.experts; e += 32, ++i) {
      const uint32_t rank = (taken >> i & 1u) != 0 ? 0u : rank_of(score[e] + bias[e]);
      if (rank > best) {
        best = rank;
        id = static_cast<uint32_t>(e);
      }
    }
    const uint32_t highest = __reduce_max_sync(~0u, best);
    const uint32_t winner = __reduce_min_sync(~0u, best == highest ? id : ~0u);
    if (winner % 32 == static_cast<uint32_t>(lane)) taken |= 1u << (winner / 32);
    total += score[winner];
    if (lane == 0) entry[k] = static_cast<int32_t>(winner);
  }
  __syncwarp();
  const float divisor = args.renormalise ? total + args.renormalise_epsilon : 1.0f;
  for (int k = lane; k < args.top_k; k += 32) {
    const int64_t at = int64_t{token} * args.top_k + k;
    args.expert[at] = entry[k];
    args.chosen_weight[at] = __fdiv_rn(score[entry[k]], divisor) * args.scale;
  }
}

// What padding has for choices.
__device__ __forceinline__ void choose_none(const Router& args, int token, int32_t* entry) {
  for (int k = threadIdx.x % 32; k < args.top_k; k += 32) {
    const int64_t at = int64_t{token} * args.top_k + k;
    entry[k] = -1;
    args.expert[at] = -1;
    args.chosen_weight[at] = 0;
  }
}

// All entries are in shared memory: an entry's place is the number of those before it. Padding's,
// as unsigned numbers, come last.
__device__ __forceinline__ void sort_few(const Router& args, const int32_t* entry) {
  const int entries = args.tokens * args.top_k;
  const auto* chosen = reinterpret_cast<const uint32_t*>(entry);
  for (int i = threadIdx.x; i < entries; i += static_cast<int>(blockDim.x)) {
    const uint32_t mine = chosen[i];
    int place = 0;
    for (int j = 0; j < entries; ++j) {
      place += chosen[j] < mine || (chosen[j] == mine && j < i) ? 1 : 0;
    }
    args.order[place] = i;
  }
  for (uint32_t e = threadIdx.x; e <= static_cast<uint32_t>(args.experts); e += blockDim.x) {
    int lower = 0;
    for (int j = 0; j < entries; ++j) lower += chosen[j] < e ? 1 : 0;
    args.expert_start[e] = lower;
  }
}

}  // namespace switchyard::cuda
