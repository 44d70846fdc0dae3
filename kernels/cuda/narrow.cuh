// The kernel behind every product with few rows of x. A unit is a few row tiles of weights
// ("streams") against all rows of x. A group of warps computes a unit: each takes a range of the
// columns and copies them through a ring of stages of its own, the sums meet in shared memory, and
// the job's epilogue turns them into results. More units than warps: a group is one warp and goes
// from unit to unit; fewer: a group is a block, for the shortest way from weights to results. The
// ring is filled before the kernel waits for the one before it, where the job knows its weights
// then.
//
// A Job is a plain struct, passed by value, with
//   NarrowWeights weights     shape of the streams' matrices
//   static bool   kLate       whether its weights or rows are known only after wait_for_previous()
//   void       prepare(shared, group)  before the wait: what no op of this step writes
//   void       begin()        after the wait, before anything else (all threads)
//   int        units(), rows()             of this block's blockIdx.y and z
//   const bf16* row(m)                     of x
//   const float* gain, float epsilon       RMSNorm of x, or null
//   StreamRef  stream(unit, s)
//   void       expect(unit, group)         fetches early what finish() will want
//   void       finish(unit, sums, group)   the group's threads; sums.at(s, row of the tile, m)
#pragma once

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/narrow_stage.cuh"
#include "kernels/cuda/narrow_tile.cuh"

namespace switchyard::cuda {

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

// Shared memory: the warps' rings, x as [rows][stride] bf16, the rows' sums of squares, the warps'
// sums, and what the job wants.
struct NarrowShared {
  int64_t ring_bytes;
  int x_stride;  // elements; rows start 16 bytes apart modulo 128, so that ldmatrix has no conflict
  int64_t x_bytes, sum_bytes, job_bytes;

  static constexpr int64_t kSquareBytes = int64_t{kNarrowMaxRows} * kNarrowWarps * 4;
  [[nodiscard]] int64_t bytes() const {
    return ring_bytes + x_bytes + kSquareBytes + sum_bytes + job_bytes;
  }
};

// `cols` and `rows` of x.
template <WeightFormat kFormat, int kStreams, int kScaleCols>
NarrowShared narrow_shared(int64_t cols, int64_t rows, int token_tiles, int64_t job_bytes) {
  using Stage = NarrowStage<kFormat, kStreams, kScaleCols>;
  const int64_t stride = col_tiles(cols) * kTileCols + 8;
  return {.ring_bytes = int64_t{kNarrowWarps} * Stage::kRing * Stage::kBytes,
          .x_stride = static_cast<int>(stride),
          .x_bytes = rows * stride * 2,
          .sum_bytes = int64_t{kNarrowWarps} * kStreams * kTileRows * token_tiles * 8 * 4,
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
    float total = 0;
#pragma unroll
    for (int w = 0; w < kNarrowWarps; ++w) total += w < warps ? mine[w * kWarpSums] : 0.0f;
    return total;
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles, int kScaleCols, typename Job>
__global__ void __launch_bounds__(kNarrowThreads,
                                  kStreams* kTokenTiles <= 4 && kStreams < 4 ? 2 : 1)
    narrow_kernel(Job job, NarrowShared layout, NarrowGroup group) {
  using Stage = NarrowStage<kFormat, kStreams, kScaleCols>;
  extern __shared__ __align__(16) char shared[];
  auto* x = reinterpret_cast<__nv_bfloat16*>(shared + layout.ring_bytes);
  auto* squares = reinterpret_cast<float*>(shared + layout.ring_bytes + layout.x_bytes);
  auto* sums = squares + NarrowShared::kSquareBytes / 4;
  char* job_shared = reinterpret_cast<char*>(sums) + layout.sum_bytes;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int in_group = warp % group.warps;
  let_next_start();
  job.prepare(job_shared, group);

  char* const ring = shared + warp * Stage::kRing * Stage::kBytes + lane * 16;
  const uint32_t ring_address = shared_address(ring);
  NarrowCursor<kFormat, kStreams, kScaleCols> ahead;
  const int all_stages = job.weights.k_tiles / Stage::kTiles;
  ahead.unit = blockIdx.x * group.count() + group.index();
  ahead.stride = gridDim.x * group.count();
  ahead.first = all_stages * in_group / group.warps;
  ahead.stages = all_stages * (in_group + 1) / group.warps - ahead.first;
  int unit = ahead.unit;
  const auto fill = [&] {
    if (unit < job.units()) ahead.enter(job);
#pragma unroll
    for (int i = 0; i < Stage::kRing; ++i) {
      ahead.copy(ring_address + static_cast<uint32_t>(i * Stage::kBytes), job);
    }
  };
  if constexpr (Job::kLate) {
    wait_for_previous();
    job.begin();
    if (job.units() == 0) return;
    fill();
  } else {
    fill();
    wait_for_previous();
    job.begin();
  }
  const int rows = job.rows();
  stage_rows(job, rows, job.weights.cols, job.weights.k_tiles * kTileCols, x, layout.x_stride,
             squares);
  if (unit < job.units()) job.expect(unit, group);
  __syncthreads();

  float sum[kStreams][kTokenTiles][4] = {};
  uint32_t x_rows[kTokenTiles];
#pragma unroll
  for (int n = 0; n < kTokenTiles; ++n) {
    x_rows[n] =
        shared_address(x + min(n * 8 + lane % 8, rows - 1) * layout.x_stride + lane / 8 * 8);
  }
  uint32_t place = 0;  // in the ring, bytes
  while (unit < job.units()) {
    uint32_t x_offset = static_cast<uint32_t>(ahead.first * Stage::kTiles * kTileCols * 2);
    for (int i = 0; i < ahead.stages; ++i) {
      wait_for_copies<Stage::kRing - 1>();
      Stage::multiply(sum, ring + place, rows, x_rows, x_offset);
      ahead.copy(ring_address + place, job);
      place = place == (Stage::kRing - 1) * Stage::kBytes ? 0 : place + Stage::kBytes;
      x_offset += Stage::kTiles * kTileCols * 2;
    }
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
    job.finish(
        unit,
        NarrowSums<kStreams, kTokenTiles>{
            sums + (warp - in_group) * kStreams * kTileRows * kTokenTiles * 8, squares, group.warps,
            1.0f / static_cast<float>(job.weights.cols), job.epsilon, job.gain != nullptr},
        group);
    unit += ahead.stride;
    if (unit >= job.units()) break;
    job.expect(unit, group);
    group.sync();
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

// Warps that compute a unit together, when there are this many units in all for that many blocks.
inline NarrowGroup narrow_group(int64_t units, int items, int64_t blocks) {
  int warps = kNarrowWarps;
  while (warps > 1 && (warps > items || units * warps > blocks * kNarrowWarps)) warps /= 2;
  return {.warps = warps};
}

// Calls body(std::integral_constant<int, kScaleCols>, items of a row tile).
template <WeightFormat kFormat, typename Body>
void with_scale_cols(int group, int k_tiles, const Body& body) {
  if constexpr (is_quantised(kFormat)) {
    if (group == 32) return body(std::integral_constant<int, 32>(), k_tiles);
  }
  if constexpr (kFormat == WeightFormat::kInt4) {
    if (group == 128) return body(std::integral_constant<int, 128>(), k_tiles / 2);
  }
  body(std::integral_constant<int, 64>(), k_tiles);
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

// Calls body(std::integral_constant<int, tiles>) with 1 or 2 tiles of 8 rows.
template <typename Body>
void with_token_tiles(int64_t rows, const Body& body) {
  CHECK(rows <= kNarrowMaxRows);
  if (rows <= 8) return body(std::integral_constant<int, 1>());
  body(std::integral_constant<int, 2>());
}

}  // namespace switchyard::cuda
