// What the held kernel loads: which weights, and x into shared memory; and what a block is to its
// cluster. Device code only.
#pragma once

#include "kernels/cuda/sm90/cluster.cuh"
#include "kernels/cuda/sm90/wide_held_stream.cuh"

namespace switchyard::cuda {
namespace {

template <WeightFormat kWeightFormat, int kRowsOfX, int kGateStreams, int kBlockWarps>
struct HeldShape : HeldStream<kWeightFormat,
                              kGateStreams,
                              kBlockWarps,
                              held_ring({kWeightFormat, kRowsOfX, kGateStreams, kBlockWarps})> {
  static constexpr int kTokens = kRowsOfX;
  static constexpr int kBlocks = kTokens / 8;
  static constexpr int kTileBytes = kTokens * kTileCols * 2;  // of x

  // Of the tile of tokens that a cluster holds. Read anew wherever it is asked for, as registers
  // are short.
  static __device__ __forceinline__ int first_token() {
    int tile;
    asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(tile));
    return tile * kTokens;
  }
  static constexpr int kPerProcessor = kBlockWarps == 8 && kGateStreams == 1 ? 2 : 1;
};

// The matrix that a unit belongs to; gated ones share their units.
template <int kStreams>
__device__ __forceinline__ const HeldMatrix& matrix_of(const HeldArgs& args, int unit, int stream) {
  if constexpr (kStreams == 2) return args.matrix[stream];
  int which = 0;
#pragma unroll
  for (int m = 1; m < kWideMatrices; ++m) which += unit >= args.matrix[m].first_unit ? 1 : 0;
  return args.matrix[which];
}

// What a block is to its cluster: whose tokens it finishes, what columns it holds.
struct HeldPart {
  int rank, splits;
  int owned, owned_shift;  // tokens / 8
  int begin, end;          // tiles of 64 columns: an even number; the last may be one of zeros
  // Of this block's tokens come first: block n of the products' tokens is block n + rank * owned.

  explicit __device__ __forceinline__ HeldPart(const HeldArgs& args)
      : rank(static_cast<int>(blockIdx.x) & (args.splits - 1)),
        splits(args.splits),
        owned(1 << args.owned_shift),
        owned_shift(args.owned_shift) {
    const int pairs = (args.k_tiles + 1) / 2;
    begin = pairs * rank / splits * 2;
    end = pairs * (rank + 1) / splits * 2;
  }
  [[nodiscard]] __device__ __forceinline__ int tiles() const { return end - begin; }
  // The block `distance` behind this one.
  [[nodiscard]] __device__ __forceinline__ int peer(int distance) const {
    return (rank + distance) & (splits - 1);
  }
};

// The barriers of a block: of each warp, that sums came and that its own were read; and one that
// squares came.
template <typename Shape>
struct HeldBarriers {
  uint32_t first;

  [[nodiscard]] __device__ __forceinline__ uint32_t sums() const {
    return first + threadIdx.x / 32 * 8;
  }
  [[nodiscard]] __device__ __forceinline__ uint32_t read() const {
    return sums() + Shape::kWarps * 8;
  }
  [[nodiscard]] __device__ __forceinline__ uint32_t squares() const {
    return first + 2 * Shape::kWarps * 8;
  }
  // All threads call; each warp sets up its own.
  __device__ __forceinline__ void set_up(const HeldPart& part) const {
    if (threadIdx.x % 32 == 0) {
      set_up_barrier(sums(), 1);
      set_up_barrier(read(), max(part.splits - 1, 1));
      if (threadIdx.x == 0) {
        set_up_barrier(squares(), 1);
        expect_bytes(squares(), Shape::kTokens * 4);
      }
      publish_barriers();
    }
    __syncwarp();
  }
};

// The rows of tiles of a warp: number `warp` of a unit's, beyond the matrix its last one again.
template <typename Shape>
struct HeldRows {
  const HeldArgs& args;

  __device__ __forceinline__ HeldRow operator()(int unit, int stream) const {
    const int warp = static_cast<int>(threadIdx.x / 32);
    const HeldMatrix& matrix = matrix_of<Shape::kStreams>(args, unit, stream);
    const int last = (matrix.rows + kTileRows - 1) / kTileRows - 1;
    const int64_t row = min((unit - matrix.first_unit) * Shape::kWarps + warp, last);
    return {matrix.data + row * args.k_tiles * Shape::kCodeBytes,
            matrix.scale + row * args.groups * Shape::kScaleBytes};
  }
};

// The block's columns of x, times the gain, as tiles of 64 columns in the swizzle of wgmma; and the
// sums of their squares to the blocks that finish the tokens.
template <typename Shape>
__device__ __forceinline__ void hold_rows(const HeldArgs& args,
                                          const HeldPart& part,
                                          const HeldBarriers<Shape>& barriers,
                                          char* shared) {
  constexpr int kRows = Shape::kTokens / Shape::kWarps;  // of a warp: w, w + kWarps, ...
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int tokens = args.tokens - Shape::first_token();
  wait_for_previous();
  const __nv_bfloat16* row[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int token = Shape::first_token() + min(warp + i * Shape::kWarps, tokens - 1);
    row[i] = args.x + int64_t{args.gather != nullptr ? args.gather[token] : token} * args.cols;
  }
  float square[kRows] = {};
  // So many chunks of 16 bytes, of each row, are under way at once.
  constexpr int kAtOnce = kRows < 8 ? 8 / kRows : 1;
#pragma unroll 1
  for (int first = lane; first < part.tiles() * 8; first += 32 * kAtOnce) {
    uint4 value[kAtOnce][kRows];
#pragma unroll
    for (int c = 0; c < kAtOnce; ++c) {
      const int column = part.begin * kTileCols + (first + c * 32) * 8;
      const bool inside = column < min(part.end * kTileCols, args.cols);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const bool there = inside && warp + i * Shape::kWarps < tokens;
        value[c][i] = there ? *reinterpret_cast<const uint4*>(row[i] + column) : uint4{0, 0, 0, 0};
      }
    }
#pragma unroll
    for (int c = 0; c < kAtOnce; ++c) {
      const int chunk = first + c * 32;
      const int column = part.begin * kTileCols + chunk * 8;
      if (column >= part.end * kTileCols) break;
      if (args.gain != nullptr && column < args.cols) {
        const float4 low = __ldg(reinterpret_cast<const float4*>(args.gain + column));
        const float4 high = __ldg(reinterpret_cast<const float4*>(args.gain + column + 4));
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const auto scaled = [&](uint32_t pair, float g0, float g1) {
            const float2 v = unpack_bf16(pair);
            square[i] += v.x * v.x + v.y * v.y;
            return pack_bf16(v.x * g0, v.y * g1);
          };
          uint4& v = value[c][i];
          v = uint4{scaled(v.x, low.x, low.y), scaled(v.y, low.z, low.w),
                    scaled(v.z, high.x, high.y), scaled(v.w, high.z, high.w)};
        }
      }
      char* to = shared + chunk / 8 * Shape::kTileBytes + ((chunk % 8 ^ warp % 8) << 4);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int place =
            (warp + i * Shape::kWarps - part.rank * part.owned * 8) & (Shape::kTokens - 1);
        *reinterpret_cast<uint4*>(to + place * 128) = value[c][i];
      }
    }
  }
  publish_to_products();
  __syncwarp();
  wait_for_cluster();
  if (args.gain == nullptr) return;
  auto* squares = reinterpret_cast<float*>(shared + args.squares_at) + part.rank * part.owned * 8;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const float all = sum_of_warp(square[i]);
    const int token = warp + i * Shape::kWarps;
    const int owner = token >> (3 + part.owned_shift);
    const int at = token - owner * part.owned * 8;
    if (lane != 0) continue;
    if (part.splits == 1) {
      squares[at] = all;
    } else {
      send(address_in(owner, shared_address(squares + at)), all,
           address_in(owner, barriers.squares()));
    }
  }
}

}  // namespace
}  // namespace switchyard::cuda
