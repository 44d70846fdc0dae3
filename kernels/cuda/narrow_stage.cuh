// The rows of x of a narrow product, brought into shared memory.
#pragma once

#include <bit>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/narrow_share.cuh"

namespace switchyard::cuda {

inline constexpr int kNarrowMaxRows = 16;  // of x, where the job does not say otherwise

// Columns of x's rows in shared memory: rows start 16 bytes apart modulo 128, so that ldmatrix has
// no conflict.
struct StagedRows {
  __nv_bfloat16* x;
  int stride;
  int cols, padded_cols;

  // Which rows and chunks of 8 columns are this thread's: warps share a row when rows are few.
  template <int kWarps, typename Each>
  __device__ __forceinline__ void each_chunk(int rows, const Each& each) const {
    int shift = std::countr_zero(static_cast<unsigned>(kWarps));
    while (shift > 0 && rows << shift > kWarps) --shift;
    const int warp = threadIdx.x / 32;
    const int part = warp & ((1 << shift) - 1);
#pragma unroll 1
    for (int m = warp >> shift; m < rows; m += kWarps >> shift) each(m, part, 1 << shift);
  }
};

// Begins to copy x's rows, zeros behind the last column. job.row(m): all lanes.
template <int kWarps, typename Job>
__device__ __forceinline__ void copy_rows(const Job& job, int rows, const StagedRows& to) {
  to.each_chunk<kWarps>(rows, [&](int m, int part, int sharing) {
    const int lane = threadIdx.x % 32;
    const __nv_bfloat16* from = job.row(m);
    __nv_bfloat16* row = to.x + m * to.stride;
    if (to.cols % 8 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
#pragma unroll 4
      for (int c = (part * 32 + lane) * 8; c < to.padded_cols; c += sharing * 256) {
        copy_async(shared_address(row + c), from + (c < to.cols ? c : 0), c < to.cols);
      }
    } else {
#pragma unroll 1
      for (int c = (part * 32 + lane) * 8; c < to.padded_cols; c += sharing * 256) {
#pragma unroll 1
        for (int i = c; i < c + 8; ++i) row[i] = i < to.cols ? from[i] : __nv_bfloat16(0.0f);
      }
    }
  });
}

// Begins to copy a gain [cols], zeros behind its last.
template <int kWarps>
__device__ __forceinline__ void copy_gain(const float* gain, const StagedRows& rows, float* to) {
  const bool aligned = rows.cols % 4 == 0 && reinterpret_cast<uintptr_t>(gain) % 16 == 0;
#pragma unroll 1
  for (int c = static_cast<int>(threadIdx.x) * 4; c < rows.padded_cols; c += kWarps * 128) {
    if (aligned) {
      copy_async(shared_address(to + c), gain + (c < rows.cols ? c : 0), c < rows.cols);
    } else {
#pragma unroll 1
      for (int i = c; i < c + 4; ++i) to[i] = i < rows.cols ? gain[i] : 0.0f;
    }
  }
}

// Multiplies this thread's chunks, which have come, with the gain [cols]; and the sums of squares
// of each row before that, in as many parts as warps share the row: squares[rows][kWarps].
template <int kWarps>
__device__ __forceinline__ void scale_rows(const float* gain,
                                           int rows,
                                           const StagedRows& to,
                                           float* squares) {
  to.each_chunk<kWarps>(rows, [&](int m, int part, int sharing) {
    const int lane = threadIdx.x % 32;
    float square = 0;
    // Not unrolled, here and in the epilogues: kernels of few microseconds also wait for their
    // code.
#pragma unroll 1
    for (int c = (part * 32 + lane) * 8; c < to.padded_cols; c += sharing * 256) {
      auto& chunk = *reinterpret_cast<uint4*>(to.x + m * to.stride + c);
      const uint4 value = chunk;
      const float4 low = *reinterpret_cast<const float4*>(gain + c);
      const float4 high = *reinterpret_cast<const float4*>(gain + c + 4);
      const auto scaled = [&](uint32_t pair, float g0, float g1) {
        const float2 v = unpack_bf16(pair);
        square += v.x * v.x + v.y * v.y;
        return pack_bf16(v.x * g0, v.y * g1);
      };
      chunk = uint4{scaled(value.x, low.x, low.y), scaled(value.y, low.z, low.w),
                    scaled(value.z, high.x, high.y), scaled(value.w, high.z, high.w)};
    }
    square = sum_of_warp(square);
    if (lane < kWarps && part == 0 && (lane == 0 || lane >= sharing)) {
      squares[m * kWarps + lane] = lane == 0 ? square : 0;
    } else if (lane == 0) {
      squares[m * kWarps + part] = square;
    }
  });
}

}  // namespace switchyard::cuda
