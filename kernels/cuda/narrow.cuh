// The kernel behind every product with few rows of x. A unit is a few row tiles of weights
// ("streams") against all rows of x. A block has a range of units; its warps split the columns of
// all of them, one unit after another, into equal shares, and each copies its share through a ring
// of stages of its own. The warp that begins a unit turns its sums into results, by the job's
// epilogue; where its share ends before the unit does, it adds at last what the warps after it left
// in shared memory. So no warp waits for another before the end, and all have the same to do.
// The ring is filled before the kernel waits for the one before it, where the job knows its weights
// then.
//
// A Job is a plain struct, passed by value, with
//   NarrowWeights weights     shape of the streams' matrices
//   static int    kWarps      of a block
//   static bool   kLate       whether its weights or rows are known only after wait_for_previous();
//                             it lets the next start behind that
//   static bool   kJumps      whether stream(u + 1, s) does not lie behind stream(u, s)
//   void        choose()                its weights, before the wait; not called if late
//   void        prepare(shared)         looks up what no op of this step writes, at best without
//                                       waiting for it
//   void        begin()                 the same of what may have been written (all threads), of a
//                                       late job before all that follows, else when x has come
//   NarrowUnits units(); int rows()     of this block
//   const bf16* row(m)                  of x
//   const float* gain, float epsilon    RMSNorm of x, or null
//   StreamRef   stream(unit, s)
//   void        expect(unit)            fetches early what finish() will want; of this warp
//   void        finish(unit, sums)      of this warp
//   static bool kEnds; void end()       after the last finish(), all threads
#pragma once

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/narrow_share.cuh"
#include "kernels/cuda/narrow_stage.cuh"
#include "kernels/cuda/narrow_tile.cuh"

namespace switchyard::cuda {

// Shared memory: the warps' rings, x as [rows][stride] bf16, the gain, the rows' sums
// of squares, the warps' sums, and what the job wants.
struct NarrowShared {
  int64_t ring_bytes;
  int x_stride;  // elements
  int64_t x_bytes, gain_bytes, square_bytes, sum_bytes, job_bytes;

  [[nodiscard]] int64_t bytes() const {
    return ring_bytes + x_bytes + gain_bytes + square_bytes + sum_bytes + job_bytes;
  }
};

// `cols` and `rows` of x.
template <WeightFormat kFormat, int kStreams, int kScaleCols>
NarrowShared narrow_shared(
    int warps, int64_t cols, int64_t rows, bool normed, int token_tiles, int64_t job_bytes) {
  using Stage = NarrowStage<kFormat, kStreams, kScaleCols>;
  const int64_t padded = col_tiles(cols) * kTileCols;
  const int64_t stride = padded + 8;
  return {.ring_bytes = int64_t{warps} * Stage::ring(warps) * Stage::kBytes,
          .x_stride = static_cast<int>(stride),
          .x_bytes = rows * stride * 2,
          .gain_bytes = normed ? padded * 4 : 0,
          .square_bytes = normed ? rows * warps * 4 : 0,
          .sum_bytes = int64_t{warps} * kStreams * kTileRows * token_tiles * 8 * 4,
          .job_bytes = job_bytes};
}

// A unit's sums over columns, spread over a warp's lanes as mma has them.
template <int kStreams, int kTokenTiles, int kWarps>
struct NarrowSums {
  static constexpr int kTiles = kTokenTiles;
  static constexpr int kFloats = kStreams * kTileRows * kTokenTiles * 8;
  float value[kStreams][kTokenTiles][4];
  const float* squares;  // [rows][kWarps]; null: factor 1
  float inverse_cols;
  float epsilon;

  // The factor of RMSNorm.
  __device__ __forceinline__ float factor(int m) const {
    if (squares == nullptr) return 1.0f;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; w += 4) {
      const float4 four = *reinterpret_cast<const float4*>(squares + m * kWarps + w);
      total += (four.x + four.y) + (four.z + four.w);
    }
    return rsqrtf(total * inverse_cols + epsilon);
  }
  // Of value[s][n][j]: the row of the stream's tile, and the token.
  static __device__ __forceinline__ int row(int j) { return threadIdx.x % 32 / 4 + j / 2 * 8; }
  static __device__ __forceinline__ int token(int n, int j) {
    return n * 8 + threadIdx.x % 4 * 2 + j % 2;
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (float& v : value[s][n]) v = 0;
      }
    }
  }
  // Left for another warp, in the order of lanes.
  __device__ __forceinline__ void leave(float* slot) const {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const float(&v)[4] = value[s][n];
        reinterpret_cast<float4*>(slot)[(s * kTokenTiles + n) * 32 + threadIdx.x % 32] = {
            v[0], v[1], v[2], v[3]};
      }
    }
  }
  __device__ __forceinline__ void add(const float* slot) {
#pragma unroll
    for (int s = 0; s < kStreams; ++s) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const float4 other =
            reinterpret_cast<const float4*>(slot)[(s * kTokenTiles + n) * 32 + threadIdx.x % 32];
        float(&v)[4] = value[s][n];
        v[0] += other.x;
        v[1] += other.y;
        v[2] += other.z;
        v[3] += other.w;
      }
    }
  }
};

template <WeightFormat kFormat, int kStreams, int kTokenTiles, int kScaleCols, typename Job>
__global__ void __launch_bounds__(Job::kWarps * 32,
                                  Job::kWarps == 8 && kStreams * kTokenTiles <= 4 && kStreams < 4
                                      ? 2
                                      : 1) narrow_kernel(Job job, NarrowShared layout) {
  constexpr int kWarps = Job::kWarps;
  using Stage = NarrowStage<kFormat, kStreams, kScaleCols>;
  constexpr int kRing = Stage::ring(kWarps);
  using Sums = NarrowSums<kStreams, kTokenTiles, kWarps>;
  using Share = NarrowShare<kWarps>;
  extern __shared__ __align__(16) char shared[];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const StagedRows staged{reinterpret_cast<__nv_bfloat16*>(shared + layout.ring_bytes),
                          layout.x_stride, job.weights.cols, job.weights.k_tiles * kTileCols};
  auto* gain = reinterpret_cast<float*>(shared + layout.ring_bytes + layout.x_bytes);
  float* const squares = gain + layout.gain_bytes / 4;
  float* const slots = squares + layout.square_bytes / 4;
  char* const job_shared = reinterpret_cast<char*>(slots) + layout.sum_bytes;
  if constexpr (!Job::kLate) let_next_start();

  char* const ring = shared + warp * kRing * Stage::kBytes + lane * 16;
  const uint32_t ring_address = shared_address(ring);
  Share share;
  NarrowCursor<kFormat, kStreams, kScaleCols, Share> ahead;
  const auto fill = [&] {
    ahead.begin(job, share);
#pragma unroll 1
    for (int i = 0; i < kRing; ++i) {
      ahead.copy(ring_address + static_cast<uint32_t>(i * Stage::kBytes), job);
    }
  };
  // Everything that memory is asked for is under way before anything is waited for.
  if constexpr (Job::kLate) {
    job.prepare(job_shared);
    wait_for_previous();
    let_next_start();
    job.begin();
    if (job.units().count() == 0) return;
    share = Share(job.units(), job.weights.k_tiles / Stage::kTiles);
  } else {
    if (job.gain != nullptr) copy_gain<kWarps>(job.gain, staged, gain);
    job.choose();
    if (job.units().count() == 0) return wait_for_previous();
    share = Share(job.units(), job.weights.k_tiles / Stage::kTiles);
    fill();
    wait_for_previous();
  }
  const int rows = job.rows();
  copy_rows<kWarps>(job, rows, staged);
  commit_copies();
  if constexpr (Job::kLate) {
    fill();
  } else {
    job.prepare(job_shared);
  }

  Sums sums;
  sums.clear();
  sums.squares = job.gain != nullptr ? squares : nullptr;
  sums.inverse_cols = 1.0f / static_cast<float>(job.weights.cols);
  sums.epsilon = job.epsilon;
  uint32_t x_rows[kTokenTiles];
  uint32_t place = 0;  // in the ring, bytes
  // A unit, or what this warp has of it, at a time.
  for (bool begins = true, ends = false; !ends; begins = false) {
    const int unit = share.unit;
    const int stages = min(share.left, share.per_unit - share.place);
    const bool mine = share.place == 0 && stages > 0;
    const bool whole = stages == share.per_unit;
    if (mine) job.expect(unit);
    if (begins) {
      if constexpr (Job::kLate) {
        wait_for_copies<kRing>();
      } else {
        wait_for_copies<0>();
        if (job.gain != nullptr) {
          __syncthreads();
          scale_rows<kWarps>(gain, rows, staged, squares);
        }
      }
      __syncthreads();
      if constexpr (!Job::kLate) job.begin();
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        x_rows[n] = shared_address(staged.x + min(n * 8 + lane % 8, rows - 1) * staged.stride +
                                   lane / 8 * 8);
      }
    }
    uint32_t x_offset = static_cast<uint32_t>(share.place * Stage::kTiles * kTileCols * 2);
#pragma unroll 1
    for (int i = 0; i < stages; ++i) {
      wait_for_copies<kRing - 1>();
      Stage::multiply(sums.value, ring + place, rows, x_rows, x_offset);
      ahead.copy(ring_address + place, job);
      place = place == (kRing - 1) * Stage::kBytes ? 0 : place + Stage::kBytes;
      x_offset += Stage::kTiles * kTileCols * 2;
    }
    share.advance(stages);
    ends = share.left == 0;
    if (!mine) {
      sums.leave(slots + warp * Sums::kFloats);
      sums.clear();
    }
    if (ends) __syncthreads();
    if (mine) {
      if (!whole) {
        const int rest = share.at - share.place + share.per_unit;  // where the unit ends
        for (int w = warp + 1; w < kWarps && share.begin_of(w) < rest; w += 4) {
#pragma unroll
          for (int i = w; i < w + 4; ++i) {
            if (i < kWarps && share.begin_of(i) < rest) sums.add(slots + i * Sums::kFloats);
          }
        }
      }
      job.finish(unit, sums);
      sums.clear();
    }
  }
  if constexpr (Job::kEnds) {
    __syncthreads();
    job.end();
  }
}

// Launches blocks that are each alone on a multiprocessor. With room for two, the next kernel's
// blocks begin while this one's still run, but two to a multiprocessor where one ends early, and
// the next kernel takes as long as those.
template <typename Kernel, typename Job>
void launch_alone(
    const Stream& on, Kernel kernel, const Job& job, const NarrowShared& shared, dim3 grid) {
  launch(on, kernel, grid, Job::kWarps * 32, std::max(shared.bytes(), on.shared_bytes / 2 + 1024),
         job, shared);
}

// The same for `units` units in all, shared out evenly over blocks.
template <typename Kernel, typename Job>
void launch_narrow(
    const Stream& on, Kernel kernel, const Job& job, const NarrowShared& shared, int64_t units) {
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(on.multiprocessors, units));
  launch_alone(on, kernel, job, shared, blocks);
}

// Calls body(std::integral_constant<int, kScaleCols>).
template <WeightFormat kFormat, typename Body>
void with_scale_cols(int group, const Body& body) {
  if constexpr (is_quantised(kFormat)) {
    if (group == 32) return body(std::integral_constant<int, 32>());
  }
  if constexpr (kFormat == WeightFormat::kInt4) {
    if (group == 128) return body(std::integral_constant<int, 128>());
  }
  body(std::integral_constant<int, 64>());
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
