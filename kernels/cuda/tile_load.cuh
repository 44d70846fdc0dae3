// A warp's view of one packed weight tile (tile_layout.h): loading its lanes' pieces, and turning
// codes into tensor core operands.
#pragma once

#include <bit>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/tile_layout.h"

namespace switchyard::cuda {

__device__ __forceinline__ uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
__device__ __forceinline__ uint32_t sub_bf16x2(uint32_t a, uint32_t b) {
  return fma_bf16x2(b, 0xbf80bf80u, a);  // exact here
}
__device__ __forceinline__ uint32_t mul_bf16x2(uint32_t a, uint32_t b) {
  return fma_bf16x2(a, b, 0x80008000u);
}

// 2^exponent, of a normal f32.
constexpr float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

// (a & b) | c, in one instruction.
__device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Unscaled: codes as bf16, which holds every code of every format exactly. Rows 8 to 15 hold codes
// divided by kUpperRows: their scales are to be multiplied by it.
template <WeightFormat kFormat>
struct Tile {
  static constexpr int kBytes = static_cast<int>(tile_bytes(kFormat));
  static constexpr int kPieces = kBytes / 512;
  static constexpr bool kScaled = is_quantised(kFormat);
  static constexpr float kUpperRows = kFormat == WeightFormat::kInt4 ? 4.0f : 1.0f;
  // The same of small_fragment(), whose lower rows are divided too.
  static constexpr float kSmallLower = kFormat == WeightFormat::kInt8 ? 64.0f : 1.0f;
  static constexpr float kSmallUpper = kFormat == WeightFormat::kInt8 ? 64.0f : kUpperRows;

  uint4 piece[kPieces];

  // `tile` is the address of the whole tile, the same in all lanes.
  __device__ __forceinline__ void load(const char* tile, int lane) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) piece[p] = load_streamed(tile + p * 512 + lane * 16);
  }
  // The same from shared memory.
  __device__ __forceinline__ void read(const char* tile, int lane) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      piece[p] = *reinterpret_cast<const uint4*>(tile + p * 512 + lane * 16);
    }
  }
  __device__ __forceinline__ void clear() {
    // Of int4 the zero code is 8.
    const uint32_t zero = kFormat == WeightFormat::kInt4 ? 0x88888888u : 0u;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) piece[p] = uint4{zero, zero, zero, zero};
  }

  // The operand of step j, a compile-time constant after unrolling.
  __device__ __forceinline__ Fragment fragment(int j) const {
    Fragment f;
    if constexpr (kFormat == WeightFormat::kInt4) {
      const uint4& p = piece[0];
      const uint32_t word = j == 0 ? p.x : j == 1 ? p.y : j == 2 ? p.z : p.w;
      const uint32_t later = word >> 8;
      f = {{low_codes(word), high_codes(word), low_codes(later), high_codes(later)}};
    } else if constexpr (kFormat == WeightFormat::kBf16) {
      const uint4& p = piece[j];
      f = {{p.x, p.y, p.z, p.w}};
    } else {
      const uint4& p = piece[j / 2];
      const uint32_t low = j % 2 == 0 ? p.x : p.z;
      const uint32_t high = j % 2 == 0 ? p.y : p.w;
      f = {{of_bytes(low, 0x4140), of_bytes(low, 0x4342), of_bytes(high, 0x4140),
            of_bytes(high, 0x4342)}};
    }
    return f;
  }
  // Of step j of int4 and int8: codes and what they are offset by, as bf16 bits so small that a
  // multiplication must bring them back: (code + kOffset) 2^kLowerExponent in rows 0 to 7.
  static constexpr int kOffset = kFormat == WeightFormat::kInt4 ? 8 : 128;
  static constexpr int kLowerExponent = -133;
  static constexpr int kUpperExponent = kFormat == WeightFormat::kInt4 ? -129 : -133;
  __device__ __forceinline__ Fragment offset_bits(int j) const {
    static_assert(kFormat == WeightFormat::kInt4 || kFormat == WeightFormat::kInt8);
    if constexpr (kFormat == WeightFormat::kInt4) {
      const uint4& p = piece[0];
      const uint32_t word = j == 0 ? p.x : j == 1 ? p.y : j == 2 ? p.z : p.w;
      const uint32_t later = word >> 8;
      return {{word & 0x000f000fu, word & 0x00f000f0u, later & 0x000f000fu, later & 0x00f000f0u}};
    } else {
      const uint4& p = piece[j / 2];
      const uint32_t low = (j % 2 == 0 ? p.x : p.z) ^ 0x80808080u;
      const uint32_t high = (j % 2 == 0 ? p.y : p.w) ^ 0x80808080u;
      return {{__byte_perm(low, 0u, 0x4140), __byte_perm(low, 0u, 0x4342),
               __byte_perm(high, 0u, 0x4140), __byte_perm(high, 0u, 0x4342)}};
    }
  }
  // The same as fragment() with less work, where all rows may be divided.
  __device__ __forceinline__ Fragment small_fragment(int j) const {
    if constexpr (kFormat != WeightFormat::kInt8) {
      return fragment(j);
    } else {
      const uint4& p = piece[j / 2];
      const uint32_t low = (j % 2 == 0 ? p.x : p.z) ^ 0x80808080u;
      const uint32_t high = (j % 2 == 0 ? p.y : p.w) ^ 0x80808080u;
      return {{of_offset_bytes(low, 0x4140), of_offset_bytes(low, 0x4342),
               of_offset_bytes(high, 0x4140), of_offset_bytes(high, 0x4342)}};
    }
  }

 private:
  // Of int4, integer instructions are what there are too many of: one for each pair of codes, and a
  // shift for four pairs. Bits [0, 4) of a half: 128 + (code + 8) is 0x4300 | (code + 8).
  static __device__ __forceinline__ uint32_t low_codes(uint32_t word) {
    return sub_bf16x2(and_or(word, 0x000f000fu, 0x43004300u), 0x43084308u);
  }
  // Bits [4, 8) of a half, left there, are the bf16 bits of (code + 8) 2^-129: the subnormals and
  // the first exponent are one line. Times 2^127 less 2 is code / 4.
  static __device__ __forceinline__ uint32_t high_codes(uint32_t word) {
    return fma_bf16x2(word & 0x00f000f0u, 0x7f007f00u, 0xc000c000u);
  }
  // Two bytes of code + 128 as bf16 bits are (code + 128) 2^-133; times 2^127 less 2, code / 64.
  static __device__ __forceinline__ uint32_t of_offset_bytes(uint32_t word, uint32_t select) {
    return fma_bf16x2(__byte_perm(word, 0u, select), 0x7f007f00u, 0xc000c000u);
  }
  // Two codes of a byte each, selected into the low bytes of the halves.
  static __device__ __forceinline__ uint32_t of_bytes(uint32_t word, uint32_t select) {
    const uint32_t bytes = __byte_perm(word, 0u, select);
    if constexpr (kFormat == WeightFormat::kInt8) {
      // 128 + (code mod 128), less 128 or, for a negative code, 256.
      return sub_bf16x2(and_or(bytes, 0x007f007fu, 0x43004300u),
                        and_or(bytes, 0x00800080u, 0x43004300u));
    } else {
      // E4M3 bits as those of a bf16 that is 2^-120 times the value, subnormals too.
      const uint32_t small = ((bytes & 0x00800080u) << 8) | ((bytes & 0x007f007fu) << 4);
      return mul_bf16x2(small, 0x7b807b80u);
    }
  }
};

}  // namespace switchyard::cuda
