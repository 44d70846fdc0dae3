// The kernel behind every product with few rows of x. A unit is a few row tiles of weights
// ("streams") against all rows of x. A group of warps computes a unit: each takes a range of the
// column tiles and streams them through a ring of registers, the sums meet in shared memory, and
// the job's epilogue turns them into results. More units than warps: a group is one warp and goes
// from unit to unit; fewer: a group is a block, for the shortest way from weights to results.
// The ring is filled before the kernel waits for the one before it, where the job knows its weights
// without that.
//
// A Job is a plain struct, passed by value, with
//   NarrowWeights weights     shape of the streams' matrices
//   static bool   kLate       whether its weights or rows are known only after wait_for_previous()
//   void       prepare()      before the wait (all threads)
//   void       begin(shared)  after the wait, before anything else (all threads)
//   int        units(), rows()             of this block's blockIdx.y and z
//   const bf16* row(m)                     of x
//   const float* gain, float epsilon       RMSNorm of x, or null
//   StreamRef  stream(unit, s)
//   void       finish(unit, sums, group)   the group's threads; sums.at(s, row of the tile, m)
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
  int group_shift;  // log2 of the columns of a scale, at least 6; unused without scales
  int groups;
};

inline NarrowWeights narrow_weights(int64_t cols, int group) {
  return {.cols = static_cast<int>(cols),
          .k_tiles = static_cast<int>(col_tiles(cols)),
          .group_shift = group == 128 ? 7 : 6,
          .groups = static_cast<int>(groups_of(group, cols))};
}

// The warps that compute a unit together: 1, 2, 4 or 8 of a block.
struct NarrowGroup {
  int warps;

  __device__ __forceinline__ int index() const { return threadIdx.x / 32 / warps; }
  __device__ __forceinline__ int count() const { return kNarrowWarps / warps; }
  __device__ __forceinline__ int thread() const { return threadIdx.x % (warps * 32); }
  __device__ __forceinline__ int threads() const { return warps * 32; }
  __device__ __forceinline__ void sync() const {
    if (warps == 1) {
      __syncwarp();
    } else {
      asm volatile("bar.sync %0, %1;" : : "r"(1 + index()), "r"(threads()) : "memory");
    }
  }
};

// Shared memory: x as [rows][stride] bf16, the warps' sums, the rows' sums of squares, and what the
// job wants.
struct NarrowShared {
  int x_stride;  // elements; rows start 16 bytes apart modulo 128, so that ldmatrix has no conflict
  int64_t x_bytes, sum_bytes, job_bytes;

  static constexpr int64_t kSquareBytes = int64_t{kNarrowMaxRows} * kNarrowWarps * 4;
  [[nodiscard]] int64_t bytes() const { return x_bytes + sum_bytes + kSquareBytes + job_bytes; }
};

// `cols`, `rows` of x; sums of that many streams and tiles of 8 rows.
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
  const float* squares;  // [rows][kNarrowWarps]
  int warps;
  float inverse_cols;
  float epsilon;
  bool normed;

  __device__ __forceinline__ float factor(int m) const {
    if (!normed) return 1.0f;
    const float4 low = *reinterpret_cast<const float4*>(squares + m * kNarrowWarps);
    const float4 high = *reinterpret_cast<const float4*>(squares + m * kNarrowWarps + 4);
    const float total =
        ((low.x + low.y) + (low.z + low.w)) + ((high.x + high.y) + (high.z + high.w));
    return rsqrtf(total * inverse_cols + epsilon);
  }
  __device__ __forceinline__ float at(int s, int row, int m) const {
    constexpr int kWarpSums = kStreams * kTileRows * kTokenTiles * 8;
    const float* mine = sums + (s * kTileRows + row) * (kTokenTiles * 8) + m;
    float total = mine[0];
    for (int w = 1; w < warps; ++w) total += mine[w * kWarpSums];
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

// A column tile of all streams, with its scales: one of 64 columns or, kFine, two of 32.
template <WeightFormat kFormat, int kStreams, bool kFine>
struct NarrowTile {
  using Scale = std::conditional_t<kFormat == WeightFormat::kFp8, float2, __half2>;
  static constexpr int kScales = !Tile<kFormat>::kScaled ? 0 : kFine ? 2 : 1;
  static constexpr int kRegisters =
      kStreams * (Tile<kFormat>::kPieces * 4 + kScales * static_cast<int>(sizeof(Scale)) / 4);
  Tile<kFormat> tile[kStreams];
  Scale scale[kStreams][kScales > 0 ? kScales : 1];

  template <int kTokenTiles>
  __device__ __forceinline__ void multiply(float (&sum)[kStreams][kTokenTiles][4],
                                           int rows,
                                           const uint32_t (&x)[kTokenTiles],
                                           uint32_t x_offset) const {
    float part[kStreams][kTokenTiles][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // 32 columns: two steps of 16
      Fragment w[kStreams][2];
#pragma unroll
      for (int s = 0; s < kStreams; ++s) {
        w[s][0] = tile[s].fragment(half * 2);
        w[s][1] = tile[s].fragment(half * 2 + 1);
      }
      constexpr bool kFlushHalf = kFine;
      const bool first = half == 0 || kFlushHalf;
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        if (n > 0 && n * 8 >= rows) break;
        uint32_t b[4];
        load_matrices(b, x[n] + x_offset + half * 64);
#pragma unroll
        for (int s = 0; s < kStreams; ++s) {
          if constexpr (kScales > 0) {
            if (first) {
#pragma unroll
              for (float& value : part[s][n]) value = 0;
            }
            mma(part[s][n], w[s][0], b[0], b[1]);
            mma(part[s][n], w[s][1], b[2], b[3]);
            if (half == 1 || kFlushHalf) {
              const float2 both = as_float2(scale[s][kFine ? half : 0]);
              sum[s][n][0] += both.x * part[s][n][0];
              sum[s][n][1] += both.x * part[s][n][1];
              sum[s][n][2] += both.y * part[s][n][2];
              sum[s][n][3] += both.y * part[s][n][3];
            }
          } else {
            mma(sum[s][n], w[s][0], b[0], b[1]);
            mma(sum[s][n], w[s][1], b[2], b[3]);
          }
        }
      }
    }
  }

 private:
  static __device__ __forceinline__ float2 as_float2(float2 v) { return v; }
  static __device__ __forceinline__ float2 as_float2(__half2 v) { return __half22float2(v); }
};

// How many tiles fit in registers beside the sums and the rest.
template <typename NTile, int kTokenTiles>
constexpr int ring_of() {
  const int fit = (kTokenTiles == 1 ? 48 : 28) / NTile::kRegisters;
  return fit < 1 ? 1 : fit > 6 ? 6 : fit;
}

// Where a warp is in its units' tiles: what to load next.
template <WeightFormat kFormat, int kStreams, bool kFine>
struct NarrowCursor {
  using NTile = NarrowTile<kFormat, kStreams, kFine>;
  const char* data[kStreams];
  const typename NTile::Scale* scale[kStreams];
  int unit, stride;  // the group's, and the way to its next
  int k, k_begin, k_end;

  template <typename Job>
  __device__ __forceinline__ void enter(const Job& job, int lane) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
      const StreamRef ref = job.stream(unit, s);
      data[s] = ref.data + (ref.row_tile * job.weights.k_tiles + k_begin) * Tile<kFormat>::kBytes +
                lane * 16;
      if constexpr (NTile::kScales > 0) {
        scale[s] = static_cast<const typename NTile::Scale*>(ref.scale) +
                   ref.row_tile * job.weights.groups * 8 + lane / 4;
      }
    }
    k = k_begin;
  }
  // Loads the tile and goes on to the next.
  template <typename Job>
  __device__ __forceinline__ void load(NTile& to, const Job& job, int lane) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int p = 0; p < Tile<kFormat>::kPieces; ++p) {
        to.tile[s].piece[p] = load_streamed(data[s] + p * 512);
      }
      data[s] += Tile<kFormat>::kBytes;
      if constexpr (NTile::kScales == 1) {
        to.scale[s][0] = __ldg(scale[s] + (k * kTileCols >> job.weights.group_shift) * 8);
      } else if constexpr (NTile::kScales == 2) {
        to.scale[s][0] = __ldg(scale[s] + k * 16);
        // The last group may be missing: its columns are padding.
        to.scale[s][1] = __ldg(scale[s] + min(k * 2 + 1, job.weights.groups - 1) * 8);
      }
    }
    if (++k == k_end) {
      unit += stride;
      if (unit < job.units()) enter(job, lane);
    }
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles, bool kFine, typename Job>
__global__ void __launch_bounds__(kNarrowThreads,
                                  kStreams* kTokenTiles <= 4 && kStreams < 4 ? 2 : 1)
    narrow_kernel(Job job, NarrowShared layout, NarrowGroup group) {
  using NTile = NarrowTile<kFormat, kStreams, kFine>;
  extern __shared__ __align__(16) char shared[];
  auto* x = reinterpret_cast<__nv_bfloat16*>(shared);
  auto* squares = reinterpret_cast<float*>(shared + layout.x_bytes);
  auto* sums = reinterpret_cast<float*>(shared + layout.x_bytes + NarrowShared::kSquareBytes);
  char* job_shared = shared + layout.x_bytes + layout.sum_bytes + NarrowShared::kSquareBytes;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int in_group = warp % group.warps;
  let_next_start();
  job.prepare();

  constexpr int kRing = ring_of<NTile, kTokenTiles>();
  NTile ring[kRing];
  NarrowCursor<kFormat, kStreams, kFine> ahead;
  ahead.unit = blockIdx.x * group.count() + group.index();
  ahead.stride = gridDim.x * group.count();
  ahead.k_begin = job.weights.k_tiles * in_group / group.warps;
  ahead.k_end = job.weights.k_tiles * (in_group + 1) / group.warps;
  int unit = ahead.unit;
  const auto fill = [&]() -> int {
    const int units = unit < job.units() ? (job.units() - unit - 1) / ahead.stride + 1 : 0;
    const int steps = units * (ahead.k_end - ahead.k_begin);
    if (steps > 0) ahead.enter(job, lane);
#pragma unroll
    for (int i = 0; i < kRing; ++i) {
      if (i < steps) ahead.load(ring[i], job, lane);
    }
    return steps;
  };
  int steps = 0;
  if constexpr (Job::kLate) {
    wait_for_previous();
    job.begin(job_shared);
    if (job.units() == 0) return;
    steps = fill();
  } else {
    steps = fill();
    wait_for_previous();
    job.begin(job_shared);
  }
  const int rows = job.rows();
  stage_rows(job, rows, job.weights.cols, job.weights.k_tiles * kTileCols, x, layout.x_stride,
             squares);
  __syncthreads();

  float sum[kStreams][kTokenTiles][4] = {};
  uint32_t x_rows[kTokenTiles];  // what this lane gives ldmatrix, at column tile 0
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
    x_rows[n] =
        shared_address(x + min(n * 8 + lane % 8, rows - 1) * layout.x_stride + lane / 8 * 8);
  }
  int k = ahead.k_begin;
  for (int base = 0; base < steps; base += kRing) {
#pragma unroll
    for (int i = 0; i < kRing; ++i) {
      if (base + i >= steps) break;
      ring[i].multiply(sum, rows, x_rows, static_cast<uint32_t>(k) * kTileCols * 2);
      if (base + i + kRing < steps) ahead.load(ring[i], job, lane);
      if (++k < ahead.k_end) continue;
      k = ahead.k_begin;
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
      group.sync();
      job.finish(unit,
                 NarrowSums<kStreams, kTokenTiles>{
                     sums + (warp - in_group) * kStreams * kTileRows * kTokenTiles * 8, squares,
                     group.warps, 1.0f / static_cast<float>(job.weights.cols), job.epsilon,
                     job.gain != nullptr},
                 group);
      unit += ahead.stride;
      if (unit < job.units()) group.sync();
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

// Warps that compute a unit together, when there are this many units in all.
inline NarrowGroup narrow_group(int64_t units, int k_tiles, int64_t blocks) {
  int warps = kNarrowWarps;
  while (warps > 1 && (warps > k_tiles || units * warps > blocks * kNarrowWarps)) warps /= 2;
  return {.warps = warps};
}

// Calls body(fine) with std::bool_constant: whether scales are of 32 columns.
template <WeightFormat kFormat, typename Body>
void with_fine(int group, const Body& body) {
  if constexpr (is_quantised(kFormat)) {
    if (group == 32) return body(std::true_type());
  }
  body(std::false_type());
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
