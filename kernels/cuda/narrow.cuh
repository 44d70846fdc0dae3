// The kernel behind every product with few rows of x. A block computes units: a few row tiles of
// weights ("streams") against all rows of x. Its warps split the columns: warp w takes the column
// tiles w, w + kWarps, ..., the sums meet in shared memory, and the job's epilogue turns a unit's
// sums into results. Two batches of weights are always under way in registers, the first of them
// before the kernel waits for the one before it, where the job knows its weights without that.
//
// A Job is a plain struct, passed by value, with
//   Weights    weights        shape of the streams' matrices
//   bool       static: kLate  whether its weights or rows are known only after wait_for_previous()
//   void       begin(shared)  after the wait, before anything else (all threads)
//   int        units(), rows()             of this block
//   const bf16* row(m)                     of x
//   const float* gain, float epsilon       RMSNorm of x, or null
//   StreamRef  stream(unit, s)
//   void       finish(unit, sums)          all threads; sums.at(s, row of the tile, m)
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tile_load.cuh"

namespace switchyard::cuda {

inline constexpr int kNarrowWarps = 8;
inline constexpr int kNarrowThreads = kNarrowWarps * 32;
inline constexpr int kNarrowMaxRows = 32;

// One row tile of one matrix.
struct StreamRef {
  const char* data;  // of the whole matrix
  const void* scale;
  int64_t row_tile;
};

struct NarrowWeights {
  int cols;
  int k_tiles;
  int group;  // 0: no scales
  int groups;
};

inline NarrowWeights narrow_weights(int64_t cols, int group) {
  return {.cols = static_cast<int>(cols),
          .k_tiles = static_cast<int>(col_tiles(cols)),
          .group = group,
          .groups = static_cast<int>(groups_of(group, cols))};
}

// Shared memory: x as [rows][stride] bf16, the warps' sums, the rows' sums of squares, and what the
// job wants.
struct NarrowShared {
  int x_stride;  // elements; rows start 16 bytes apart modulo 128, so that ldmatrix has no conflict
  int64_t x_bytes, sum_bytes, job_bytes;

  static constexpr int64_t kSquareBytes = int64_t{kNarrowMaxRows} * kNarrowWarps * 4;
  [[nodiscard]] int64_t bytes() const { return x_bytes + sum_bytes + kSquareBytes + job_bytes; }
};

inline NarrowShared narrow_shared(
    int64_t cols, int64_t rows, int streams, int token_tiles, int64_t job_bytes) {
  const int64_t stride = col_tiles(cols) * kTileCols + 8;
  return {.x_stride = static_cast<int>(stride),
          .x_bytes = rows * stride * 2,
          .sum_bytes = int64_t{kNarrowWarps} * streams * kTileRows * token_tiles * 8 * 4,
          .job_bytes = job_bytes};
}

// A unit's sums over columns, and the factor of RMSNorm.
template <int kStreams, int kTokenTiles>
struct NarrowSums {
  const float* sums;     // [warps][streams][16][token_tiles * 8]
  const float* squares;  // [rows][warps]
  float inverse_cols;
  float epsilon;
  bool normed;

  __device__ __forceinline__ float factor(int m) const {
    if (!normed) return 1.0f;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kNarrowWarps; ++w) total += squares[m * kNarrowWarps + w];
    return rsqrtf(total * inverse_cols + epsilon);
  }
  __device__ __forceinline__ float at(int s, int row, int m) const {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kNarrowWarps; ++w) {
      total += sums[((w * kStreams + s) * kTileRows + row) * (kTokenTiles * 8) + m];
    }
    return total;
  }
};

// x's rows times the gain into shared memory, zeros behind the last column; and the sum of squares
// of each row, in as many parts as warps share the row.
template <typename Job>
__device__ __forceinline__ void stage_rows(const Job& job,
                                           int rows,
                                           int cols,
                                           int padded_cols,
                                           __nv_bfloat16* x,
                                           int stride,
                                           float* squares) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  int sharing = kNarrowWarps;  // warps that share a row
  while (sharing > 1 && sharing * rows > kNarrowWarps) sharing /= 2;
  const int part = warp % sharing;
  const float* gain = job.gain;
  for (int m = warp / sharing; m < rows; m += kNarrowWarps / sharing) {
    const __nv_bfloat16* from = job.row(m);
    __nv_bfloat16* to = x + m * stride;
    float square = 0;
    if (cols % 8 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
      constexpr int kAhead = 4;
      const int pieces = padded_cols / 8;
      for (int first = part * 32 + lane; first < pieces; first += sharing * 32 * kAhead) {
        uint4 value[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const int c = first + i * sharing * 32;
          value[i] =
              c * 8 < cols ? *reinterpret_cast<const uint4*>(from + c * 8) : uint4{0, 0, 0, 0};
        }
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const int c = first + i * sharing * 32;
          if (c >= pieces) continue;
          if (gain != nullptr && c * 8 < cols) {
            const float4 low = __ldg(reinterpret_cast<const float4*>(gain + c * 8));
            const float4 high = __ldg(reinterpret_cast<const float4*>(gain + c * 8 + 4));
            const auto scaled = [&](uint32_t pair, float g0, float g1) {
              const float2 v = unpack_bf16(pair);
              square += v.x * v.x + v.y * v.y;
              return pack_bf16(v.x * g0, v.y * g1);
            };
            value[i] =
                uint4{scaled(value[i].x, low.x, low.y), scaled(value[i].y, low.z, low.w),
                      scaled(value[i].z, high.x, high.y), scaled(value[i].w, high.z, high.w)};
          }
          *reinterpret_cast<uint4*>(to + c * 8) = value[i];
        }
      }
    } else {
      for (int c = part * 32 + lane; c < padded_cols; c += sharing * 32) {
        float v = c < cols ? __bfloat162float(from[c]) : 0.0f;
        square += v * v;
        if (gain != nullptr && c < cols) v *= gain[c];
        to[c] = __float2bfloat16_rn(v);
      }
    }
    if (gain != nullptr) {
      square = sum_of_warp(square);
      if (lane == 0) squares[m * kNarrowWarps + part] = square;
      if (lane > 0 && lane < kNarrowWarps && part == 0 && lane >= sharing) {
        squares[m * kNarrowWarps + lane] = 0;
      }
    }
  }
}

// Column tiles of all streams that a warp has under way at once.
template <WeightFormat kFormat, int kStreams>
struct NarrowBatch {
  // Registers of one tile: pieces and scales. Two batches of about 32 are what fits beside the
  // rest.
  static constexpr int kRegisters = Tile<kFormat>::kPieces * 4 + (kFormat == WeightFormat::kFp8 ? 4
                                                                  : Tile<kFormat>::kScaled      ? 2
                                                                                           : 0);
  static constexpr int kFit = 32 / (kStreams * kRegisters);
  static constexpr int kTiles = kFit < 1 ? 1 : kFit > 4 ? 4 : kFit;
  static constexpr int kAllRegisters = kStreams * kTiles * kRegisters;
  // Scales of 32 columns each; a larger group's are loaded for each half of a tile.
  using Scale = std::conditional_t<kFormat == WeightFormat::kFp8, float2, __half2>;

  Tile<kFormat> tile[kTiles][kStreams];
  Scale scale[kTiles][kStreams][Tile<kFormat>::kScaled ? 2 : 1];

  template <typename Job>
  __device__ __forceinline__ void load(const Job& job, int unit, int first_tile, int lane) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const int k = first_tile + i * kNarrowWarps;
      if (k >= job.weights.k_tiles) break;
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        const StreamRef ref = job.stream(unit, s);
        tile[i][s].load(ref.data + (ref.row_tile * job.weights.k_tiles + k) * Tile<kFormat>::kBytes,
                        lane);
        if constexpr (Tile<kFormat>::kScaled) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int group =
                min((k * kTileCols + half * 32) / job.weights.group, job.weights.groups - 1);
            scale[i][s][half] = __ldg(static_cast<const Scale*>(ref.scale) +
                                      (ref.row_tile * job.weights.groups + group) * 8 + lane / 4);
          }
        }
      }
    }
  }

  template <int kTokenTiles>
  __device__ __forceinline__ void multiply(float (&sum)[kStreams][kTokenTiles][4],
                                           int k_tiles,
                                           int first_tile,
                                           int rows,
                                           uint32_t x,
                                           int x_stride,
                                           int lane) const {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const int k = first_tile + i * kNarrowWarps;
      if (k >= k_tiles) break;
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // 32 columns: two steps of 16
        Fragment w[kStreams][2];
#pragma unroll
        for (int s = 0; s < kStreams; ++s) {
          w[s][0] = tile[i][s].fragment(half * 2);
          w[s][1] = tile[i][s].fragment(half * 2 + 1);
        }
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) {
          if (n > 0 && n * 8 >= rows) break;
          const int m = min(n * 8 + lane % 8, rows - 1);
          uint32_t b[4];
          load_matrices(b, x + (m * x_stride + k * kTileCols + half * 32 + lane / 8 * 8) * 2);
#pragma unroll
          for (int s = 0; s < kStreams; ++s) {
            if constexpr (Tile<kFormat>::kScaled) {
              float part[4] = {0, 0, 0, 0};
              mma(part, w[s][0], b[0], b[1]);
              mma(part, w[s][1], b[2], b[3]);
              const float2 both = as_float2(scale[i][s][half]);
              sum[s][n][0] += both.x * part[0];
              sum[s][n][1] += both.x * part[1];
              sum[s][n][2] += both.y * part[2];
              sum[s][n][3] += both.y * part[3];
            } else {
              mma(sum[s][n], w[s][0], b[0], b[1]);
              mma(sum[s][n], w[s][1], b[2], b[3]);
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

template <WeightFormat kFormat, int kStreams, int kTokenTiles, typename Job>
__global__ void __launch_bounds__(kNarrowThreads,
                                  kStreams* kTokenTiles <= 4 &&
                                          NarrowBatch<kFormat, kStreams>::kAllRegisters < 40
                                      ? 2
                                      : 1) narrow_kernel(Job job, NarrowShared layout) {
  using Batch = NarrowBatch<kFormat, kStreams>;
  extern __shared__ __align__(16) char shared[];
  auto* x = reinterpret_cast<__nv_bfloat16*>(shared);
  auto* sums = reinterpret_cast<float*>(shared + layout.x_bytes);
  auto* squares = reinterpret_cast<float*>(shared + layout.x_bytes + layout.sum_bytes);
  char* job_shared = shared + layout.x_bytes + layout.sum_bytes + NarrowShared::kSquareBytes;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  let_next_start();

  const int k_tiles = job.weights.k_tiles;
  constexpr int kStride = Batch::kTiles * kNarrowWarps;
  const int batches = (k_tiles + kStride - 1) / kStride;
  constexpr int kAhead = Batch::kAllRegisters <= 64 ? 2 : 1;
  Batch ahead[kAhead];
  // Item i: batch i % batches of unit i / batches.
  const auto load = [&](Batch& batch, int item) {
    batch.load(job, item / batches, warp + item % batches * kStride, lane);
  };
  if constexpr (Job::kLate) {
    wait_for_previous();
    job.begin(job_shared);
  }
  const int items = job.units() * batches;
  if (items == 0) return;
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (i < items) load(ahead[i], i);
  }
  if constexpr (!Job::kLate) {
    wait_for_previous();
    job.begin(job_shared);
  }
  const int rows = job.rows();
  stage_rows(job, rows, job.weights.cols, k_tiles * kTileCols, x, layout.x_stride, squares);
  __syncthreads();

  float sum[kStreams][kTokenTiles][4] = {};
  const uint32_t x_address = shared_address(x);
  const auto finish = [&](int unit) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        float* to = sums + ((warp * kStreams + s) * kTileRows + lane / 4) * (kTokenTiles * 8) +
                    n * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = {sum[s][n][0], sum[s][n][1]};
        *reinterpret_cast<float2*>(to + 8 * kTokenTiles * 8) = {sum[s][n][2], sum[s][n][3]};
#pragma unroll
        for (float& value : sum[s][n]) value = 0;
      }
    }
    __syncthreads();
    job.finish(unit, NarrowSums<kStreams, kTokenTiles>{sums, squares,
                                                       1.0f / static_cast<float>(job.weights.cols),
                                                       job.epsilon, job.gain != nullptr});
    __syncthreads();
  };
  const auto step = [&](Batch& batch, int item) {
    batch.multiply(sum, k_tiles, warp + item % batches * kStride, rows, x_address, layout.x_stride,
                   lane);
    if (item + kAhead < items) load(batch, item + kAhead);
    if ((item + 1) % batches == 0) finish(item / batches);
  };
  for (int item = 0; item < items; item += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (item + i < items) step(ahead[i], item + i);
    }
  }
}

// How many blocks of the kernel the device holds at once.
template <typename Kernel>
int resident_blocks(const Stream& on, Kernel kernel, int64_t shared) {
  int blocks = 0;
  if (shared > 48 << 10) {
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared)));
  }
  CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kNarrowThreads,
                                                           static_cast<size_t>(shared)));
  CHECK(blocks > 0);
  return blocks * on.multiprocessors;
}

// Calls body(std::integral_constant<WeightFormat, ...>).
template <typename Body>
void with_format(WeightFormat format, const Body& body) {
  switch (format) {
    case WeightFormat::kBf16:
      return body(std::integral_constant<WeightFormat, WeightFormat::kBf16>());
    case WeightFormat::kFp8:
      return body(std::integral_constant<WeightFormat, WeightFormat::kFp8>());
    case WeightFormat::kInt8:
      return body(std::integral_constant<WeightFormat, WeightFormat::kInt8>());
    case WeightFormat::kInt4:
      return body(std::integral_constant<WeightFormat, WeightFormat::kInt4>());
    case WeightFormat::kF32:
    case WeightFormat::kF16:
      CHECK(false);  // Backend::multiplies
  }
}

// Calls body(std::integral_constant<int, tiles>) with 1, 2 or 4 tiles of 8 rows.
template <typename Body>
void with_token_tiles(int64_t rows, const Body& body) {
  CHECK(rows <= kNarrowMaxRows);
  if (rows <= 8) return body(std::integral_constant<int, 1>());
  if (rows <= 16) return body(std::integral_constant<int, 2>());
  return body(std::integral_constant<int, 4>());
}

}  // namespace switchyard::cuda
