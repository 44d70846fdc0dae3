// Weights of a narrow product on their way through a warp's registers.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/narrow_share.cuh"
#include "kernels/cuda/tile_load.cuh"

namespace switchyard::cuda {

// One row tile of one matrix.
struct StreamRef {
  const char* data;  // of the whole matrix
  const void* scale;
  int64_t row_tile;
};

struct NarrowWeights {
  int cols;
  int k_tiles;
  int groups;       // scales of a row
  int group_shift;  // log2 of the columns of a scale; at least 6, unused below
};

inline NarrowWeights narrow_weights(int64_t cols, int group) {
  return {.cols = static_cast<int>(cols),
          .k_tiles = static_cast<int>(col_tiles(cols)),
          .groups = static_cast<int>(groups_of(group, cols)),
          .group_shift = group == 128 ? 7 : 6};
}

// What a warp multiplies between two looks at the scales: kScaleCols 128: two column tiles of all
// streams and a scale; 64: one and one; 32: one and two. It lies in shared memory, in a ring of
// such stages of the warp's own; a lane reads back what it copied itself.
template <WeightFormat kFormat, int kStreams, int kScaleCols>
struct NarrowStage {
  using Scale = std::conditional_t<kFormat == WeightFormat::kFp8, float2, __half2>;
  static constexpr int kTiles = kScaleCols == 128 ? 2 : 1;
  static constexpr int kPieces = kTiles * Tile<kFormat>::kPieces;
  static constexpr int kScales = !Tile<kFormat>::kScaled ? 0 : kScaleCols == 32 ? 2 : 1;
  static constexpr int kScaleBytes = 32 * static_cast<int>(sizeof(Scale));
  static constexpr int kStreamBytes = kPieces * 512 + kScales * kScaleBytes;
  static constexpr int kBytes = kStreams * kStreamBytes;
  // Some 56 KiB a block keep the memory busy; two stages at the least if they fit.
  static constexpr int ring(int warps) {
    const int of_warp = 57344 / warps;
    return kBytes > 2 * of_warp ? 1 : std::clamp(of_warp / kBytes, 2, 6);
  }
  static constexpr int kHalves = kTiles * 2;  // of 32 columns: two steps of 16

  // sum += stage * x. `stage`: the lane's place in it, 16 bytes a lane. `x`: for each tile of 8
  // rows of x what this lane gives ldmatrix, at the stage's first column.
  template <int kTokenTiles>
  static __device__ __forceinline__ void multiply(float (&sum)[kStreams][kTokenTiles][4],
                                                  const char* stage,
                                                  int rows,
                                                  const uint32_t (&x)[kTokenTiles],
                                                  uint32_t x_offset) {
    const int lane = threadIdx.x % 32;
    float part[kStreams][kTokenTiles][4];
    Tile<kFormat> tile[kStreams];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const bool first = half == 0 || kScaleCols == 32;
      const bool last = half == kHalves - 1 || kScaleCols == 32;
      Fragment w[kStreams][2];
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        if (half % 2 == 0) {
#pragma unroll
          for (int p = 0; p < Tile<kFormat>::kPieces; ++p) {
            tile[s].piece[p] = *reinterpret_cast<const uint4*>(
                stage + s * kStreamBytes + (half / 2 * Tile<kFormat>::kPieces + p) * 512);
          }
        }
        w[s][0] = tile[s].fragment(half % 2 * 2);
        w[s][1] = tile[s].fragment(half % 2 * 2 + 1);
      }
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        if (n > 0 && n * 8 >= rows) break;
        uint32_t b[4];
        load_matrices(b, x[n] + x_offset + half * 64);
#pragma unroll
        for (int s = 0; s < kStreams; ++s) {
          if constexpr (kScales == 0) {
            mma(sum[s][n], w[s][0], b[0], b[1]);
            mma(sum[s][n], w[s][1], b[2], b[3]);
          } else {
            float(&p)[4] = part[s][n];
            if (first) p[0] = p[1] = p[2] = p[3] = 0;
            mma(p, w[s][0], b[0], b[1]);
            mma(p, w[s][1], b[2], b[3]);
            if (last) {
              const char* scales = stage + s * kStreamBytes + kPieces * 512 - lane * 16;
              const float2 both = as_float2(reinterpret_cast<const Scale*>(
                  scales + (kScaleCols == 32 ? half : 0) * kScaleBytes)[lane]);
              const float upper = both.y * Tile<kFormat>::kUpperRows;
              sum[s][n][0] += both.x * p[0];
              sum[s][n][1] += both.x * p[1];
              sum[s][n][2] += upper * p[2];
              sum[s][n][3] += upper * p[3];
            }
          }
        }
      }
    }
  }

 private:
  static __device__ __forceinline__ float2 as_float2(float2 v) { return v; }
  static __device__ __forceinline__ float2 as_float2(__half2 v) { return __half22float2(v); }
};

// The warp's copies, a stage after another. Row tiles of a matrix lie behind each other, so that a
// stream goes on from unit to unit; where its next unit lies elsewhere (Job::kJumps), it is looked
// up.
template <WeightFormat kFormat, int kStreams, int kScaleCols, typename Share>
struct NarrowCursor {
  using Stage = NarrowStage<kFormat, kStreams, kScaleCols>;
  using Scale = typename Stage::Scale;
  const char* data[kStreams];
  const Scale* scale[kStreams];
  Share share;  // what is not yet copied

  template <typename Job>
  __device__ __forceinline__ void begin(const Job& job, const Share& from) {
    share = from;
    if (share.left > 0) enter(job);
  }
  // Copies the next stage, if there is one; always one group of copies. `to`: the lane's place.
  template <typename Job>
  __device__ __forceinline__ void copy(uint32_t to, const Job& job) {
    if (share.left > 0) {
      const int lane = threadIdx.x % 32;
      const ScaleStep step(share.place, job.weights);
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        const uint32_t stream = to + s * Stage::kStreamBytes;
#pragma unroll
        for (int p = 0; p < Stage::kPieces; ++p) copy_async(stream + p * 512, data[s] + p * 512);
        data[s] += Stage::kPieces * 512;
        if constexpr (Stage::kScales > 0) {
          const uint32_t scales =
              stream + Stage::kPieces * 512 - lane * 16 + lane * static_cast<int>(sizeof(Scale));
          copy_scale(scales, scale[s]);
          if constexpr (Stage::kScales == 2) {
            copy_scale(scales + Stage::kScaleBytes, scale[s] + step.second);
          }
          scale[s] += step.next;
        }
      }
      share.advance(1);
      if constexpr (Job::kJumps) {
        if (share.place == 0 && share.left > 0) enter(job);
      }
    }
    commit_copies();
  }

 private:
  // From a stage's first scale to its second and to the next stage's, of a row tile.
  struct ScaleStep {
    int second = 0, next = 8;

    __device__ __forceinline__ ScaleStep(int place, const NarrowWeights& weights) {
      if constexpr (kScaleCols == 32) {
        // The last group may be missing: its columns are padding.
        second = place * 2 + 1 < weights.groups ? 8 : 0;
        next = 8 + second;
      } else if constexpr (kScaleCols == 64) {
        const int same = (1 << (weights.group_shift - 6)) - 1;  // stages that follow with one scale
        next = (place & same) == same ? 8 : 0;
      }
    }
  };
  template <typename Job>
  __device__ __forceinline__ void enter(const Job& job) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const StreamRef ref = job.stream(share.unit, s);
      data[s] = ref.data +
                (ref.row_tile * job.weights.k_tiles + share.place * Stage::kTiles) *
                    int64_t{Tile<kFormat>::kBytes} +
                lane * 16;
      if constexpr (Stage::kScales > 0) {
        const int group = kScaleCols == 64 ? share.place * kTileCols >> job.weights.group_shift
                                           : share.place * Stage::kScales;
        scale[s] = static_cast<const Scale*>(ref.scale) +
                   (ref.row_tile * job.weights.groups + group) * 8 + lane / 4;
      }
    }
  }
  static __device__ __forceinline__ void copy_scale(uint32_t to, const Scale* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                 :
                 : "r"(to), "l"(from), "n"(sizeof(Scale))
                 : "memory");
  }
};

}  // namespace switchyard::cuda
