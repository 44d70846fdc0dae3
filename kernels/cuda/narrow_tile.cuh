// Weights of a narrow product on their way through a warp's registers.
#pragma once

#include <type_traits>

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

// What a warp multiplies between two looks at the scales. kScaleCols 128: two column tiles of all
// streams and a scale; 64: one and one; 32: one and two.
template <WeightFormat kFormat, int kStreams, int kScaleCols>
struct NarrowItem {
  using Scale = std::conditional_t<kFormat == WeightFormat::kFp8, float2, __half2>;
  static constexpr int kTiles = kScaleCols == 128 ? 2 : 1;
  static constexpr int kScales = !Tile<kFormat>::kScaled ? 0 : kScaleCols == 32 ? 2 : 1;
  static constexpr int kRegisters = kStreams * (kTiles * Tile<kFormat>::kPieces * 4 +
                                                kScales * static_cast<int>(sizeof(Scale)) / 4);
  static constexpr int kHalves = kTiles * 2;  // of 32 columns: two steps of 16

  Tile<kFormat> tile[kStreams][kTiles];
  Scale scale[kStreams][kScales > 0 ? kScales : 1];

  // sum += item * x. `x`: for each tile of 8 rows of x what this lane gives ldmatrix, at column 0.
  template <int kTokenTiles>
  __device__ __forceinline__ void multiply(float (&sum)[kStreams][kTokenTiles][4],
                                           int rows,
                                           const uint32_t (&x)[kTokenTiles],
                                           uint32_t x_offset) const {
    float part[kStreams][kTokenTiles][4];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const bool first = half == 0 || kScaleCols == 32;
      const bool last = half == kHalves - 1 || kScaleCols == 32;
      Fragment w[kStreams][2];
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        w[s][0] = tile[s][half / 2].fragment(half % 2 * 2);
        w[s][1] = tile[s][half / 2].fragment(half % 2 * 2 + 1);
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
              const float2 both = as_float2(scale[s][kScaleCols == 32 ? half : 0]);
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

// What a warp loads next: its items of a unit, then of the group's next unit. A unit takes a
// multiple of the ring's length in places, so that its first item is always in the ring's first;
// places behind its last item stay empty.
template <WeightFormat kFormat, int kStreams, int kScaleCols>
struct NarrowCursor {
  using Item = NarrowItem<kFormat, kStreams, kScaleCols>;
  const char* data[kStreams];
  const typename Item::Scale* scale[kStreams];
  int unit, stride;  // the group's, and the way to its next
  int first, items;  // of a unit, this warp's
  int place, places;

  template <typename Job>
  __device__ __forceinline__ void enter(const Job& job, int lane) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const StreamRef ref = job.stream(unit, s);
      data[s] = ref.data +
                (ref.row_tile * job.weights.k_tiles + first * Item::kTiles) *
                    int64_t{Tile<kFormat>::kBytes} +
                lane * 16;
      if constexpr (Item::kScales > 0) {
        scale[s] = static_cast<const typename Item::Scale*>(ref.scale) +
                   ref.row_tile * job.weights.groups * 8 + lane / 4;
      }
    }
    place = 0;
  }
  template <typename Job>
  __device__ __forceinline__ void load(Item& to, const Job& job, int lane) {
    if (unit >= job.units()) return;
    if (place < items) {
      const int item = first + place;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
#pragma unroll
        for (int p = 0; p < Item::kTiles * Tile<kFormat>::kPieces; ++p) {
          to.tile[s][p / Tile<kFormat>::kPieces].piece[p % Tile<kFormat>::kPieces] =
              load_streamed(data[s] + p * 512);
        }
        data[s] += Item::kTiles * Tile<kFormat>::kBytes;
        if constexpr (kScaleCols == 32 && Item::kScales > 0) {
          to.scale[s][0] = __ldg(scale[s] + item * 16);
          // The last group may be missing: its columns are padding.
          to.scale[s][1] = __ldg(scale[s] + min(item * 2 + 1, job.weights.groups - 1) * 8);
        } else if constexpr (kScaleCols == 128) {
          to.scale[s][0] = __ldg(scale[s] + item * 8);
        } else if constexpr (Item::kScales > 0) {
          to.scale[s][0] = __ldg(scale[s] + (item * kTileCols >> job.weights.group_shift) * 8);
        }
      }
    }
    if (++place == places) {
      unit += stride;
      if (unit < job.units()) enter(job, lane);
    }
  }
};

// Items that fit in registers beside the sums and the rest.
template <typename Item, int kTokenTiles>
constexpr int ring_of() {
  const int fit = (kTokenTiles == 1 ? 40 : 24) / Item::kRegisters;
  return fit < 1 ? 1 : fit > 4 ? 4 : fit;
}

}  // namespace switchyard::cuda
