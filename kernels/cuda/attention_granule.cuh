// A granule: 16 keys of one kv head and their values, as a warp of decode attention copies it to
// shared memory and multiplies its queries with it.
//
// The indices that an mma sums over, and the columns of its result, may be in any order, so every
// lane takes 16-byte chunks of keys and values whose words are operands as they lie.
// Device code only.
#pragma once

#include "kernels/cuda/attention_merge.cuh"
#include "kernels/cuda/attention_task.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

// Brings bytes nearer, without reading them; 16-byte aligned.
template <int kBytes>
__device__ __forceinline__ void prefetch_bytes(const void* address) {
  NV_IF_ELSE_TARGET(
      NV_PROVIDES_SM_90,
      (asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;"
                    :
                    : "l"(address), "n"(kBytes));),
      (for (int i = 0; i < kBytes; i += 128) {
        asm volatile("prefetch.global.L2 [%0];" : : "l"(static_cast<const char*>(address) + i));
      }))
}

template <int kDim>
struct Granule {
  static constexpr int kKeyChunks = kDim / 32;  // of a lane, of one key
  static constexpr int kHalves = kDim / 64;
  static constexpr int kCopies = 2 * kKeyChunks + 4 * kHalves;  // of a lane
  static constexpr int kChunks = kCopies * 32;                  // keys, then values
  static constexpr int kBytes = kChunks * 16;

  // Where a chunk of a key or value lies in shared memory: so that those that the lanes read
  // together (Attend::add) share no bank.
  static __device__ __forceinline__ int place_of(int row, int chunk) {
    return row * (kDim / 8) + (chunk ^ ((row & 1) << 2) ^ (row & 6));
  }

  // Where in the cache the granule that begins at `key` lies, in elements.
  static __device__ __forceinline__ int64_t place_in(const AttentionTask& task,
                                                     int block,
                                                     int head,
                                                     int key) {
    const int in_block = key & (task.block_tokens - 1);
    return ((int64_t{block} * task.kv_heads + head) * task.block_tokens + in_block) * kDim;
  }

  // The lane's chunks of it, from the cache's block `block` to shared memory; zeros for what is not
  // one of the first `keys` keys.
  static __device__ __forceinline__ void copy(
      const AttentionTask& task, int block, int head, int key, int keys, uint32_t shared) {
    constexpr int kRowChunks = kDim / 8;
    constexpr int kRowsAtOnce = 32 / kRowChunks;
    const int lane = threadIdx.x % 32;
    const int64_t from = place_in(task, block, head, key) + lane * 8;
    const auto* const keys_from = static_cast<const __nv_bfloat16*>(task.key) + from;
    const auto* const values_from = static_cast<const __nv_bfloat16*>(task.value) + from;
#pragma unroll
    for (int i = 0; i < kCopies / 2; ++i) {
      const int row = lane / kRowChunks + i * kRowsAtOnce;
      const uint32_t to = shared + place_of(row, lane % kRowChunks) * 16;
      copy_async(to, keys_from + i * 256, key + row < keys);
      copy_async(to + kBytes / 2, values_from + i * 256, key + row < keys);
    }
  }
};

// Four logits of one query become exponentials. Returns what older sums must be multiplied with.
__device__ __forceinline__ float add_logits(
    Softmax& softmax, float& a, float& b, float& c, float& d, float scale) {
  float largest = fmaxf(fmaxf(a, b), fmaxf(c, d));
  largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
  largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
  largest = fmaxf(largest * scale, softmax.largest);
  const float reference = reference_of(largest);
  const float shrink = exp2_approx(softmax.largest - reference);
  a = exp2_approx(a * scale - reference);
  b = exp2_approx(b * scale - reference);
  c = exp2_approx(c * scale - reference);
  d = exp2_approx(d * scale - reference);
  softmax = {largest, softmax.total * shrink + ((a + b) + (c + d))};
  return shrink;
}

// A warp's queries, kRows or fewer (8 or 16), against its granules.
template <int kDim, int kRows>
struct Attend {
  using G = Granule<kDim>;
  static constexpr bool kUpper = kRows > 8;  // the second 8 rows of the mma hold queries

  Fragment query[kDim / 16];
  float sum[kDim / 8][4];
  Softmax softmax[2];

  // query_of(row): where a query lies in memory.
  template <typename QueryOf>
  __device__ __forceinline__ void begin(int queries, int lane, const QueryOf& query_of) {
    const auto chunk = [&](int row, int c) -> uint4 {
      if (row >= queries) return {0, 0, 0, 0};
      return *reinterpret_cast<const uint4*>(query_of(row) + 8 * (lane % 4) + 32 * c);
    };
#pragma unroll
    for (int c = 0; c < G::kKeyChunks; ++c) {
      const uint4 low = chunk(lane / 4, c);
      const uint4 high = kUpper ? chunk(lane / 4 + 8, c) : uint4{0, 0, 0, 0};
      query[2 * c] = {{low.x, high.x, low.y, high.y}};
      query[2 * c + 1] = {{low.z, high.z, low.w, high.w}};
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
    softmax[0] = softmax[1] = {minus_infinity(), 0};
  }

  // `from`: the granule. `see`: how many of its keys, from this lane's first one on, queries g and
  // g + 8 see.
  __device__ __forceinline__ void add(const uint4* from, const int (&see)[2], float scale) {
    const int g = threadIdx.x % 32 / 4;
    const int t = threadIdx.x % 4;
    float logit[2][4] = {};
#pragma unroll
    for (int c = 0; c < G::kKeyChunks; ++c) {
      const uint4 chunk[2] = {from[G::place_of(g, t + 4 * c)], from[G::place_of(8 + g, t + 4 * c)]};
      mma(logit[0], query[2 * c], chunk[0].x, chunk[0].y);
      mma(logit[1], query[2 * c], chunk[1].x, chunk[1].y);
      mma(logit[0], query[2 * c + 1], chunk[0].z, chunk[0].w);
      mma(logit[1], query[2 * c + 1], chunk[1].z, chunk[1].w);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i / 4 * 8 + i % 2 >= see[i % 4 / 2]) logit[i / 4][i % 4] = minus_infinity();
    }
    float shrink[2] = {1, 1};
    shrink[0] = add_logits(softmax[0], logit[0][0], logit[0][1], logit[1][0], logit[1][1], scale);
    Fragment weight = {
        {pack_bf16(logit[0][0], logit[0][1]), 0, pack_bf16(logit[1][0], logit[1][1]), 0}};
    if constexpr (kUpper) {
      shrink[1] = add_logits(softmax[1], logit[0][2], logit[0][3], logit[1][2], logit[1][3], scale);
      weight.a[1] = pack_bf16(logit[0][2], logit[0][3]);
      weight.a[3] = pack_bf16(logit[1][2], logit[1][3]);
    }
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
      for (int i = 0; i < (kUpper ? 4 : 2); ++i) sum[j][i] *= shrink[i / 2];
    }
#pragma unroll
    for (int h = 0; h < G::kHalves; ++h) {
      uint32_t v[4][4];
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const uint4 chunk =
            from[G::kChunks / 2 + G::place_of(2 * t + p % 2 + p / 2 * 8, g + 8 * h)];
        v[p][0] = chunk.x;
        v[p][1] = chunk.y;
        v[p][2] = chunk.z;
        v[p][3] = chunk.w;
      }
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        mma(sum[8 * h + 2 * w], weight, __byte_perm(v[0][w], v[1][w], 0x5410),
            __byte_perm(v[2][w], v[3][w], 0x5410));
        mma(sum[8 * h + 2 * w + 1], weight, __byte_perm(v[0][w], v[1][w], 0x7632),
            __byte_perm(v[2][w], v[3][w], 0x7632));
      }
    }
  }

  template <typename Shares>
  __device__ __forceinline__ void hand_over(const Shares& shares, int warp, int lane) {
#pragma unroll
    for (int upper = 0; upper < kRows / 8; ++upper) {
      const int row = lane / 4 + 8 * upper;
#pragma unroll
      for (int j = 0; j < kDim / 8; j += 4) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const int i = 2 * upper + c;
          shares.at(warp, row, j / 8 * 64 + 16 * (lane % 4) + 8 * c + j % 8) =
              float4{sum[j][i], sum[j + 1][i], sum[j + 2][i], sum[j + 3][i]};
        }
      }
      Softmax one = softmax[upper];
      one.total += __shfl_xor_sync(~0u, one.total, 1);
      one.total += __shfl_xor_sync(~0u, one.total, 2);
      if (lane % 4 == 0) shares.softmax(warp, row) = one;
    }
  }
};

}  // namespace switchyard::cuda
