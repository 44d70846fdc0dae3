// What both steps of sampling do with a row's logits: reading chunks, finding the largest, masses.
#pragma once

#include <cfloat>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sample_call.h"

namespace switchyard::cuda {

inline constexpr int kChunkEach = kSampleChunk / 32;  // logits of a chunk that a lane holds

constexpr float kInfinity = __builtin_huge_valf();

enum class Choice { kGreedy, kAnyToken, kRanked };

__device__ __forceinline__ bool limits_k(const SampleRow& rule, int vocabulary) {
  return rule.top_k > 0 && rule.top_k < vocabulary;
}
// kRanked: what may be chosen is a number, or a mass, of the most likely.
__device__ __forceinline__ Choice choice_of(const SampleRow& rule, int vocabulary) {
  if (rule.temperature <= 0) return Choice::kGreedy;
  return limits_k(rule, vocabulary) || rule.top_p < 1 ? Choice::kRanked : Choice::kAnyToken;
}

// A lane's part of one chunk, -infinity behind the row's end. Read past L1: other blocks edit.
struct Chunk {
  float logit[kChunkEach];

  __device__ __forceinline__ void load(const SampleCall& call, const float* row, int chunk) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kChunkEach; ++i) logit[i] = -kInfinity;
    if (call.vectors) {
#pragma unroll
      for (int i = 0; i < kChunkEach; i += 4) {
        const int at = token(call, chunk, i, lane);
        if (at >= call.vocabulary) continue;
        const float4 four = __ldcg(reinterpret_cast<const float4*>(row + at));
        logit[i] = four.x, logit[i + 1] = four.y, logit[i + 2] = four.z, logit[i + 3] = four.w;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kChunkEach; ++i) {
        const int at = token(call, chunk, i, lane);
        if (at < call.vocabulary) logit[i] = __ldcg(row + at);
      }
    }
  }
  // The token of logit[i]; rises with i.
  static __device__ __forceinline__ int token(const SampleCall& call, int chunk, int i, int lane) {
    const int in_chunk = call.vectors ? i / 4 * 128 + lane * 4 + i % 4 : i * 32 + lane;
    return chunk * kSampleChunk + in_chunk;
  }
  __device__ __forceinline__ float largest() const {
    float value = logit[0];
#pragma unroll
    for (int i = 1; i < kChunkEach; ++i) value = fmaxf(value, logit[i]);
    return value;
  }
};

// The larger logit first; the lower id first among equals.
struct Ranked {
  float logit = -kInfinity;
  int32_t token = INT32_MAX;

  __device__ __forceinline__ bool before(const Ranked& other) const {
    return logit > other.logit || (logit == other.logit && token < other.token);
  }
  __device__ __forceinline__ void take(const Ranked& other) {
    if (other.before(*this)) *this = other;
  }
  __device__ __forceinline__ Ranked first_of_warp() const {
    Ranked best = *this;
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      Ranked other;
      other.logit = __shfl_xor_sync(~0u, best.logit, offset);
      other.token = __shfl_xor_sync(~0u, best.token, offset);
      best.take(other);
    }
    return best;
  }
};

// Masses of one row.
struct Masses {
  float largest, inverse_temperature, min_p;

  __device__ __forceinline__ float nats(float logit) const {
    return (logit - largest) * inverse_temperature;
  }
  __device__ __forceinline__ float about(float logit) const { return __expf(nats(logit)); }
  // In units of 2^-40, cut off; 0 beyond 28 nats. Shifted into place: faster than a conversion.
  __device__ __forceinline__ uint64_t mass(float logit) const {
    const uint32_t bits = __float_as_uint(about(logit));
    const uint32_t digits = (bits & 0x7fffffu) | 0x800000u;
    const int shift = static_cast<int>(bits >> 23) - (127 + 23 - 40);
    return shift >= 0 ? uint64_t{digits} << shift : digits >> min(-shift, 31);
  }
  // kBins and more: no mass. Rises as the logit falls.
  __device__ __forceinline__ int bin(float logit) const {
    const float steps = -nats(logit) * kBinsPerNat;
    return steps < kBins ? static_cast<int>(steps) : kBins;
  }
  // Whether min_p leaves it, exactly: by double where f32 cannot tell.
  __device__ __forceinline__ bool kept(float logit) const {
    if (min_p <= 0 || logit >= largest) return true;
    const float mass = about(logit);
    if (mass > min_p * 1.0001f) return true;
    if (mass < min_p * 0.9999f) return false;
    const double distance = static_cast<double>(logit) - static_cast<double>(largest);
    return exp(distance * static_cast<double>(inverse_temperature)) >= static_cast<double>(min_p);
  }
};

// True in all threads of the block that is the last of `blocks` to come here; then everything
// that the others wrote before can be read (past L1). Leaves the counter at zero.
__device__ __forceinline__ bool is_last(uint32_t* counter, unsigned blocks) {
  if (blocks == 1) {
    __syncthreads();
    return true;
  }
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1u) + 1 == blocks;
    if (last) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

// The model's own logit of a token. All threads of the block call.
__device__ __forceinline__ float raw_logit(const SampleCall& call, int row, int token) {
  __shared__ float raw;
  const SampleRow& rule = call.rule[row];
  __syncthreads();
  if (threadIdx.x == 0) raw = __ldcg(call.logits + int64_t{row} * call.vocabulary + token);
  __syncthreads();
  for (int i = rule.edit_begin + static_cast<int>(threadIdx.x); i < rule.edit_end;
       i += static_cast<int>(blockDim.x)) {
    if (call.edits[i].token == token) raw = __ldcg(call.replaced + i);
  }
  __syncthreads();
  return raw;
}

__device__ __forceinline__ float log_probability(float logit, double normaliser) {
  return static_cast<float>(static_cast<double>(logit) - normaliser);
}

}  // namespace switchyard::cuda
