// What the attention kernels share: finding the row of a work item, the exponential.
// Device code only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace switchyard::cuda {

// Walks the work items of all rows, in row order, by a whole warp.
struct RowCursor {
  int first_row = 0;  // of the 32 rows under the cursor
  int before = 0;     // items of all rows before those

  struct Place {
    int row;     // -1: there are fewer items
    int within;  // which of the row's items
  };

  // Where item `item` lies. items_of(row) is how many a row has; items must not fall from one call
  // to the next.
  template <typename ItemsOf>
  __device__ __forceinline__ Place seek(int item, int rows, const ItemsOf& items_of) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (; first_row < rows; first_row += 32) {
      const int mine = first_row + lane < rows ? items_of(first_row + lane) : 0;
      int through = mine;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(~0u, through, offset);
        if (lane >= offset) through += other;
      }
      const unsigned later = __ballot_sync(~0u, item < before + through);
      if (later != 0) {
        const int place = __ffs(static_cast<int>(later)) - 1;
        return {first_row + place, item - before - __shfl_sync(~0u, through - mine, place)};
      }
      before += __shfl_sync(~0u, through, 31);
    }
    return {-1, 0};
  }
};

__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

// What to subtract from logits whose largest is `largest`; finite even when there are none.
__device__ __forceinline__ float reference_of(float largest) {
  return largest == minus_infinity() ? 0.0f : largest;
}

}  // namespace switchyard::cuda
