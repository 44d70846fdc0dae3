// How attention_decode adds up what warps, then blocks, made of shares of a unit's keys: in an
// order that the shares' number decides, so that it does not matter who was last. Device code only.
#pragma once

#include "kernels/cuda/attention_piece.cuh"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

// Of one query over some keys: the largest logit, in powers of two, and the sum of
// exp2(logit - largest). Values are weighted with exp2(logit - largest).
struct Softmax {
  float largest;
  float total;
};

// The shares of a block's warps, each at the beginning of the kWarpBytes of shared memory that are
// the warp's.
template <int kDim, int kRows, int kWarpBytes>
struct WarpShares {
  static constexpr int kRowBytes = (kDim + 4) * 4;
  static_assert(kRows * (kRowBytes + static_cast<int>(sizeof(Softmax))) <= kWarpBytes);
  char* memory;

  [[nodiscard]] __device__ float4& at(int warp, int row, int d) const {
    return *reinterpret_cast<float4*>(memory + warp * kWarpBytes + row * kRowBytes + d * 4);
  }
  [[nodiscard]] __device__ Softmax& softmax(int warp, int row) const {
    return *reinterpret_cast<Softmax*>(memory + warp * kWarpBytes + kRows * kRowBytes +
                                       row * static_cast<int>(sizeof(Softmax)));
  }
};

__device__ __forceinline__ void add_scaled(float4& sum, const float4& x, float by) {
  sum = {sum.x + x.x * by, sum.y + x.y * by, sum.z + x.z * by, sum.w + x.w * by};
}

// Four elements of a query, over the shares added so far.
struct Merged {
  Softmax softmax = {minus_infinity(), 0};
  float4 sum = {0, 0, 0, 0};

  // Adds shares 0 to count - 1. softmax_of(i), sum_of(i): share i.
  template <typename SoftmaxOf, typename SumOf>
  __device__ __forceinline__ void add(int count, const SoftmaxOf& softmax_of, const SumOf& sum_of) {
    constexpr int kAtOnce = 4;
#pragma unroll 1
    for (int first = 0; first < count; first += kAtOnce) {
      Softmax one[kAtOnce];
      float largest = softmax.largest;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        one[i] = first + i < count ? softmax_of(first + i) : Softmax{minus_infinity(), 0};
        largest = fmaxf(largest, one[i].largest);
      }
      const float reference = reference_of(largest);
      const float shrink = exp2_approx(softmax.largest - reference);
      softmax = {largest, softmax.total * shrink};
      sum = {sum.x * shrink, sum.y * shrink, sum.z * shrink, sum.w * shrink};
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const float by = exp2_approx(one[i].largest - reference);
        softmax.total += one[i].total * by;
        if (first + i < count) add_scaled(sum, sum_of(first + i), by);
      }
    }
  }
};

// The warps' shares together: write(query, first of four elements, what they are).
template <typename Shape, typename Write>
__device__ __forceinline__ void merge_warps(const typename Shape::Shares& shares,
                                            int queries,
                                            const Write& write) {
  constexpr int kVectors = Shape::kDim / 4;  // of a query
  for (int v = threadIdx.x; v < queries * kVectors; v += Shape::kThreads) {
    const int row = v / kVectors;
    const int d = v % kVectors * 4;
    Merged all;
    all.add(
        Shape::kWarps, [&](int warp) { return shares.softmax(warp, row); },
        [&](int warp) { return shares.at(warp, row, d); });
    write(row, d, all);
  }
}

// A team of one block. Teams have blocks() blocks, of which this is block(); it adds up the
// dimensions from block() * head_dim / blocks() on.
template <typename Shape>
struct OneBlock {
  static constexpr int kSharedBytes = 0;

  __device__ explicit OneBlock(char* /*shared*/) {}
  static __device__ int index() { return static_cast<int>(blockIdx.x); }  // of the team
  static __device__ int block() { return 0; }
  static __device__ int blocks() { return 1; }
  // Both by the whole team, once a piece. merge: write(query, first of four elements, what the
  // shares of all blocks' warps are together), for what this block adds up.
  static __device__ void begin(int /*queries*/) {}
  template <typename Write>
  __device__ __forceinline__ void merge(const typename Shape::Shares& shares,
                                        int queries,
                                        const Write& write) {
    merge_warps<Shape>(shares, queries, write);
  }
};

// Where a unit's query or its result lies, in elements.
template <typename Shape>
__device__ __forceinline__ int64_t place_of_query(const AttentionTask& task,
                                                  const Piece& piece,
                                                  int row) {
  const int token = Shape::kOneToken ? 0 : row / task.group;
  const int head = piece.head * task.group + row - token * task.group;
  const int first_token = Shape::kOneToken ? piece.unit : piece.first_token;
  return (int64_t{first_token + token} * task.heads() + head) * Shape::kDim;
}

// `shares` are the warps'. Called by the whole team.
template <typename Shape, typename Team>
__device__ __forceinline__ void finish_piece(const AttentionTask& task,
                                             const Cut& cut,
                                             const Piece& piece,
                                             Team& team,
                                             const typename Shape::Shares& shares,
                                             int& is_last) {
  const int queries = Shape::kOneToken ? task.group : piece.queries;
  const auto write_out = [&](int row, int d, const Merged& all) {
    const float by = all.softmax.total > 0 ? 1.0f / all.softmax.total : 0.0f;
    *reinterpret_cast<uint2*>(task.out + place_of_query<Shape>(task, piece, row) + d) =
        uint2{pack_bf16(all.sum.x * by, all.sum.y * by), pack_bf16(all.sum.z * by, all.sum.w * by)};
  };
  const int64_t place = int64_t{piece.unit} * task.kv_heads + piece.head;
  const int64_t first = place * cut.most_pieces * cut.most_queries;
  const auto partial = [&](int index, int row, int d) {
    const int64_t at = first + index * cut.most_queries + row;
    return reinterpret_cast<float4*>(cut.partial + at * Shape::kDim + d);
  };
  const auto partial_softmax = [&](int index, int row) {
    const int64_t at = first + index * cut.most_queries + row;
    return cut.partial_softmax + at * team.blocks() + team.block();
  };
  const int vectors = Shape::kDim / 4 / team.blocks();
  const int first_vector = team.block() * vectors;
  team.merge(shares, queries, [&](int row, int d, const Merged& all) {
    if (piece.count == 1) return write_out(row, d, all);
    __stcg(partial(piece.index, row, d), all.sum);
    if (d == first_vector * 4) {
      __stcg(partial_softmax(piece.index, row), {all.softmax.largest, all.softmax.total});
    }
  });
  if (piece.count == 1) return;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();  // for the whole block: the others' writes came before the barrier
    uint32_t* arrived = cut.arrived + place * team.blocks() + team.block();
    is_last = atomicAdd(arrived, 1u) == static_cast<uint32_t>(piece.count - 1) ? 1 : 0;
    if (is_last != 0) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  if (is_last == 0) return;
  for (int v = threadIdx.x; v < queries * vectors; v += Shape::kThreads) {
    const int row = v / vectors;
    const int d = (first_vector + v - row * vectors) * 4;
    Merged all;
    all.add(
        piece.count,
        [&](int i) -> Softmax {
          const float2 one = __ldcg(partial_softmax(i, row));
          return {one.x, one.y};
        },
        [&](int i) { return __ldcg(partial(i, row, d)); });
    write_out(row, d, all);
  }
}

}  // namespace switchyard::cuda
