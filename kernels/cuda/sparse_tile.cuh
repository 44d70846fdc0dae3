// A warp's view of one tile of sparse weights (sparse.h), and the instruction that multiplies with
// them. Device code only.
#pragma once

#include "kernels/cuda/sparse.h"
#include "kernels/cuda/tile_load.cuh"

namespace switchyard::cuda {

// d[16 x 8] += a[16 x 32] b[32 x 8], of which `a` holds the kept values. Lane (g, t): b[i] is
// B[8i+2t..8i+2t+1][g]; d as in mma(). The indices of rows g and g + 8 are those of the lanes
// t = 0 (chunks 0 to 3) and 1 (4 to 7), or 2 and 3 if kOfLanes is 1.
template <int kOfLanes>
__device__ __forceinline__ void mma_sparse(float (&d)[4],
                                           const Fragment& a,
                                           const uint32_t (&b)[4],
                                           uint32_t indices) {
  asm volatile(
      "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
      "{%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, %13;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.a[0]), "r"(a.a[1]), "r"(a.a[2]), "r"(a.a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]),
        "r"(b[3]), "r"(indices), "n"(kOfLanes));
}

// The tile with the scales of its lane's two rows: one pair or, if kFine, one for each step.
template <bool kFine>
class SparseTile {
 public:
  static constexpr int kScales = kFine ? 4 : 1;

  // `tile` is its address and `scale` that of its row of tiles' scales; `number` counts along the
  // columns.
  __device__ __forceinline__ void load(
      const char* tile, const __half2* scale, int number, int group_shift, int groups) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    codes_ = load_streamed(tile + lane * 16);
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
                 : "=r"(indices_.x), "=r"(indices_.y)
                 : "l"(tile + kSparseCodeBytes + lane * 8));
#pragma unroll
    for (int j = 0; j < kScales; ++j) {
      const int group = min((number * kSparseTileCols + j * 32) >> group_shift, groups - 1);
      scale_[j] = __ldg(scale + group * 8 + lane / 4);
    }
  }

  // Of step j, a constant after unrolling. Rows 8 to 15 come divided by 4, and their scales
  // multiplied by it.
  [[nodiscard]] __device__ __forceinline__ Fragment codes(int j) const {
    const uint32_t word = j == 0 ? codes_.x : j == 1 ? codes_.y : j == 2 ? codes_.z : codes_.w;
    const uint32_t later = word >> 8;
    return {{low_codes(word), high_codes(word), low_codes(later), high_codes(later)}};
  }
  [[nodiscard]] __device__ __forceinline__ float2 scales(int j) const {
    const float2 scale = __half22float2(scale_[kFine ? j : 0]);
    return {scale.x, 4 * scale.y};
  }
  // The same as two bf16.
  [[nodiscard]] __device__ __forceinline__ uint32_t factors(int j) const {
    const float2 scale = scales(j);
    return pack_bf16(scale.x, scale.y);
  }
  // Codes times scales, rounded to bf16.
  [[nodiscard]] __device__ __forceinline__ Fragment scaled(int j, uint32_t factors_of_step) const {
    const uint32_t low = __byte_perm(factors_of_step, 0u, 0x1010);
    const uint32_t high = __byte_perm(factors_of_step, 0u, 0x3232);
    Fragment f = codes(j);
    f.a[0] = mul_bf16x2(f.a[0], low);
    f.a[1] = mul_bf16x2(f.a[1], high);
    f.a[2] = mul_bf16x2(f.a[2], low);
    f.a[3] = mul_bf16x2(f.a[3], high);
    return f;
  }
  // Two steps share a word: mma_sparse<j % 2>.
  [[nodiscard]] __device__ __forceinline__ uint32_t indices(int j) const {
    return j < 2 ? indices_.x : indices_.y;
  }

 private:
  // Bits [0, 4) of a half: 128 + (code + 8) is 0x4300 | (code + 8).
  static __device__ __forceinline__ uint32_t low_codes(uint32_t word) {
    return sub_bf16x2((word & 0x000f000fu) | 0x43004300u, 0x43084308u);
  }
  // Bits [4, 8), where they are, make a bf16 of (code + 8) 2^-129, subnormal or not. Times 2^127,
  // less 2: code / 4. Saves a shift.
  static __device__ __forceinline__ uint32_t high_codes(uint32_t word) {
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;"
        : "=r"(d)
        : "r"(word & 0x00f000f0u), "r"(0x7f007f00u), "r"(0xc000c000u));
    return d;
  }

  uint4 codes_;
  uint2 indices_;
  __half2 scale_[kScales];
};

}  // namespace switchyard::cuda
