// The rows of x of a narrow product, brought into shared memory.
#pragma once

#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

inline constexpr int kNarrowWarps = 8;
inline constexpr int kNarrowThreads = kNarrowWarps * 32;
inline constexpr int kNarrowMaxRows = 16;

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
  // Not unrolled, here and in the epilogues: kernels of few microseconds also wait for their code.
#pragma unroll 1
  for (int m = warp / sharing; m < rows; m += kNarrowWarps / sharing) {
    const __nv_bfloat16* from = job.row(m);
    __nv_bfloat16* to = x + m * stride;
    float square = 0;
    if (cols % 8 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0) {
      constexpr int kAhead = 2;
      const int pieces = padded_cols / 8;
#pragma unroll 1
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
#pragma unroll 1
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

}  // namespace switchyard::cuda
