// How attention_decode adds up what warps, and then blocks, made of shares of a row's keys: in an
// order that the shares' number decides, so that it does not matter who was last.
// Device code only.
#pragma once

#include "kernels/cuda/attention_piece.cuh"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

// Of one query over some keys: the largest logit, in powers of two, and the sum of
// exp2(logit - largest).
struct Softmax {
  float largest;
  float total;
};

// A block's shared memory for it. Values are weighted with exp2(logit - largest).
template <int kDim, int kRows>
struct Handover {
  static constexpr int kVectors = kDim / 4;  // of a query
  float sum[kDecodeWarps][kRows][kDim + 4];
  Softmax softmax[kDecodeWarps][kRows];
  int is_last;

  __device__ float4& at(int warp, int row, int d) {
    return *reinterpret_cast<float4*>(&sum[warp][row][d]);
  }
};

__device__ __forceinline__ void add_scaled(float4& sum, const float4& x, float by) {
  sum = {sum.x + x.x * by, sum.y + x.y * by, sum.z + x.z * by, sum.w + x.w * by};
}
__device__ __forceinline__ void scale_by(float4& sum, float by) {
  sum = {sum.x * by, sum.y * by, sum.z * by, sum.w * by};
}

// The warps' shares together: write(query, first of four elements, their sum, softmax).
template <int kDim, int kRows, typename Write>
__device__ __forceinline__ void merge_warps(Handover<kDim, kRows>& shared,
                                            int queries,
                                            const Write& write) {
  constexpr int kVectors = Handover<kDim, kRows>::kVectors;
  for (int v = threadIdx.x; v < queries * kVectors; v += kDecodeWarps * 32) {
    const int row = v / kVectors;
    const int d = v % kVectors * 4;
    float largest = minus_infinity();
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      largest = fmaxf(largest, shared.softmax[w][row].largest);
    }
    float total = 0;
    float4 sum = {0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kDecodeWarps; ++w) {
      const Softmax one = shared.softmax[w][row];
      const float by = exp2_approx(one.largest - reference_of(largest));
      total += one.total * by;
      add_scaled(sum, shared.at(w, row, d), by);
    }
    write(row, d, sum, Softmax{largest, total});
  }
}

// Every warp's share of the pieces, from memory.
template <int kDim, int kRows>
__device__ __forceinline__ void gather_pieces(Handover<kDim, kRows>& shared,
                                              const Cut& cut,
                                              const Piece& piece,
                                              int64_t first_partial) {
  constexpr int kVectors = Handover<kDim, kRows>::kVectors;
  const int warp = threadIdx.x / 32;
  for (int v = threadIdx.x % 32; v < piece.queries * kVectors; v += 32) {
    const int row = v / kVectors;
    const int d = v % kVectors * 4;
    Softmax all = {minus_infinity(), 0};
    float4 sum = {0, 0, 0, 0};
#pragma unroll 4
    for (int s = warp; s < piece.count; s += kDecodeWarps) {
      const int64_t at = first_partial + int64_t{s} * piece.queries + row;
      const float4 one = __ldcg(reinterpret_cast<const float4*>(cut.partial + at * kDim + d));
      const float2 softmax = __ldcg(cut.partial_softmax + at);
      const float largest = fmaxf(all.largest, softmax.x);
      const float shrink = exp2_approx(all.largest - reference_of(largest));
      const float by = exp2_approx(softmax.x - reference_of(largest));
      all = {largest, all.total * shrink + softmax.y * by};
      scale_by(sum, shrink);
      add_scaled(sum, one, by);
    }
    shared.at(warp, row, d) = sum;
    if (d == 0) shared.softmax[warp][row] = all;
  }
}

// `shared` holds the warps' shares of the piece. Called by the whole block, which may then write to
// `shared` again.
template <int kDim, int kRows>
__device__ __forceinline__ void finish_piece(const AttentionTask& task,
                                             const Cut& cut,
                                             const Piece& piece,
                                             Handover<kDim, kRows>& shared) {
  const auto write_out = [&](int row, int d, const float4& sum, const Softmax& softmax) {
    const float by = softmax.total > 0 ? 1.0f / softmax.total : 0.0f;
    const int token = row / task.group;
    const int head = piece.head * task.group + row - token * task.group;
    const int64_t at = int64_t{piece.first_token + token} * task.heads() + head;
    *reinterpret_cast<uint2*>(task.out + at * kDim + d) =
        uint2{pack_bf16(sum.x * by, sum.y * by), pack_bf16(sum.z * by, sum.w * by)};
  };
  __syncthreads();
  if (piece.count == 1) {
    merge_warps(shared, piece.queries, write_out);
  } else {
    const int64_t first_partial =
        (int64_t{cut.place_of(piece.row, piece.first_token)} * task.heads() +
         piece.head * piece.queries) *
        cut.most_pieces;
    const int64_t mine = first_partial + int64_t{piece.index} * piece.queries;
    merge_warps(shared, piece.queries,
                [&](int row, int d, const float4& sum, const Softmax& softmax) {
                  __stcg(reinterpret_cast<float4*>(cut.partial + (mine + row) * kDim + d), sum);
                  if (d == 0) {
                    __stcg(cut.partial_softmax + mine + row, {softmax.largest, softmax.total});
                  }
                });
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();  // for the whole block: the others' writes came before the barrier
      uint32_t* arrived =
          cut.arrived + cut.unit_of(piece.row, piece.first_token) * task.kv_heads + piece.head;
      const bool is_last = atomicAdd(arrived, 1u) == static_cast<uint32_t>(piece.count - 1);
      if (is_last) *arrived = 0;
      __threadfence();
      shared.is_last = is_last ? 1 : 0;
    }
    __syncthreads();
    if (shared.is_last != 0) {
      gather_pieces(shared, cut, piece, first_partial);
      __syncthreads();
      merge_warps(shared, piece.queries, write_out);
    }
  }
  __syncthreads();
}

}  // namespace switchyard::cuda
