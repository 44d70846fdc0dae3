// The way out of a wide kernel: sums leave the registers through shared memory, because they lie
// there by weight row and are written by token; splits are added up, gates applied, residuals
// added, all in f32. Device code only.
#pragma once

#include "kernels/cuda/wide_tile.cuh"

namespace switchyard::cuda {

// Eight outputs of neighbouring rows.
struct Eight {
  float v[8];

  __device__ __forceinline__ void add(const float* from) {
    const float4 low = *reinterpret_cast<const float4*>(from);
    const float4 high = *reinterpret_cast<const float4*>(from + 4);
    v[0] += low.x, v[1] += low.y, v[2] += low.z, v[3] += low.w;
    v[4] += high.x, v[5] += high.y, v[6] += high.z, v[7] += high.w;
  }
  __device__ __forceinline__ void store(float* to) const {
    *reinterpret_cast<float4*>(to) = float4{v[0], v[1], v[2], v[3]};
    *reinterpret_cast<float4*>(to + 4) = float4{v[4], v[5], v[6], v[7]};
  }
};

__device__ __forceinline__ void write_outputs(
    const WideArgs& args, const WideMatrix& matrix, int entry, int first_row, Eight eight) {
  const int count = min(8, matrix.rows - first_row);
  const int64_t at = entry * matrix.out_stride + first_row;
  const int64_t residual_at = static_cast<int64_t>(entry) * matrix.rows + first_row;
  if (args.out_aligned && count == 8) {
    if (args.residual != nullptr) {
      const uint4 more = *reinterpret_cast<const uint4*>(args.residual + residual_at);
      const uint32_t pairs[4] = {more.x, more.y, more.z, more.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = unpack_bf16(pairs[i]);
        eight.v[2 * i] += pair.x;
        eight.v[2 * i + 1] += pair.y;
      }
    }
    if (args.out_f32) {
      eight.store(static_cast<float*>(matrix.out) + at);
    } else {
      *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(matrix.out) + at) =
          uint4{pack_bf16(eight.v[0], eight.v[1]), pack_bf16(eight.v[2], eight.v[3]),
                pack_bf16(eight.v[4], eight.v[5]), pack_bf16(eight.v[6], eight.v[7])};
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i >= count) continue;
    float value = eight.v[i];
    if (args.residual != nullptr) value += __bfloat162float(args.residual[residual_at + i]);
    if (args.out_f32) {
      static_cast<float*>(matrix.out)[at + i] = value;
    } else {
      static_cast<__nv_bfloat16*>(matrix.out)[at + i] = __float2bfloat16_rn(value);
    }
  }
}

// The block's tile of kTokens x kRows sums, kCopies of them to be added (warps that split the
// columns). `put(first, copy_stride)` writes this thread's sums of tokens [first, first + kChunk)
// to shared memory, [copy][token][kStride]; it is called with `first` a constant after unrolling.
template <int kTokens, int kRows, int kCopies, int kThreads>
class TileOut {
 public:
  static constexpr int kChunk = kTokens < 32 ? kTokens : kTokens * kRows > 128 * 64 ? 64 : 32;
  static constexpr int kStride = kRows + 4;  // lanes of a fragment fall into different banks
  static constexpr int kCopyFloats = kChunk * kStride;
  static constexpr int64_t kSharedBytes = int64_t{4} * kCopies * kCopyFloats;

  template <typename Put>
  static __device__ __forceinline__ void run(const WideArgs& args,
                                             const Place& place,
                                             float* shared,
                                             Put put) {
    // Splits lie next to each other: [tile][split][token][row].
    const int64_t tile = int64_t{blockIdx.y} * gridDim.x + blockIdx.x;
    float* partials = args.partials + tile * args.splits * (kTokens * kRows);
    float* mine = partials + int64_t{blockIdx.z} * (kTokens * kRows);
#pragma unroll
    for (int first = 0; first < kTokens; first += kChunk) {
      __syncthreads();
      put(first);
      __syncthreads();
      const auto sum = [&](int token, int row) {
        Eight eight = {};
#pragma unroll
        for (int copy = 0; copy < kCopies; ++copy) {
          eight.add(shared + copy * kCopyFloats + token * kStride + row);
        }
        return eight;
      };
      if (args.splits > 1) {
        for (int i = static_cast<int>(threadIdx.x); i < kChunk * kRows / 8; i += kThreads) {
          const int token = i / (kRows / 8), row = i % (kRows / 8) * 8;
          sum(token, row).store(mine + (first + token) * kRows + row);
        }
      } else {
        write(args, place, first, min(first + kChunk, place.count), sum);
      }
    }
    if (args.splits == 1) return;
    __threadfence();
    __syncthreads();
    auto* last = reinterpret_cast<bool*>(shared);
    if (threadIdx.x == 0) {
      const auto splits = static_cast<uint32_t>(args.splits);
      *last = atomicAdd(args.counters + tile, 1u) == splits - 1;
      if (*last) args.counters[tile] = 0;
    }
    __syncthreads();
    if (!*last) return;
    __threadfence();
    write(args, place, 0, place.count, [&](int token, int row) {
      Eight eight = {};
#pragma unroll 4
      for (int split = 0; split < args.splits; ++split) {
        eight.add(partials + (split * kTokens + token) * kRows + row);
      }
      return eight;
    });
  }

 private:
  // Tokens [first, end); `sum` counts them from `first`.
  template <typename Sum>
  static __device__ __forceinline__ void write(
      const WideArgs& args, const Place& place, int first, int end, Sum sum) {
    const int outputs = args.gated ? kRows / 2 : kRows;
    const int across = outputs / 8;
    const WideMatrix& matrix = args.matrix[Place::matrix(args)];
    const int row_block = Place::row_block(args) - matrix.first_block;
    for (int i = static_cast<int>(threadIdx.x); i < (end - first) * across; i += kThreads) {
      const int token = i / across, row = i % across * 8;
      const int first_row = row_block * outputs + row;
      if (first_row >= matrix.rows) continue;
      Eight eight = sum(token, row);
      if (args.gated) {
        const Eight up = sum(token, outputs + row);
#pragma unroll
        for (int v = 0; v < 8; ++v) eight.v[v] = silu(eight.v[v]) * up.v[v];
      }
      write_outputs(args, matrix, place.entry(args, first + token), first_row, eight);
    }
  }
};

}  // namespace switchyard::cuda
