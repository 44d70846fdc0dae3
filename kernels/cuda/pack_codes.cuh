// What packing reads, the numbers of a row-major matrix, and the rounding of each format, which is
// the same in every layout. Device code only.
#pragma once

#include "kernels/base/weight.h"
#include "kernels/cuda/device.cuh"

namespace switchyard::cuda {

// Zeros beyond the matrix.
struct Source {
  const void* data;
  DType type;
  int64_t rows, cols;

  __device__ float at(int64_t row, int64_t col) const {
    if (row >= rows || col >= cols) return 0;
    const int64_t i = row * cols + col;
    if (type == DType::kF32) return static_cast<const float*>(data)[i];
    if (type == DType::kF16) return __half2float(static_cast<const __half*>(data)[i]);
    return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
  }
};

// The rounding of each format: codes as the floats they stand for, and what is stored of them.
template <WeightFormat kFormat>
struct Codes {
  static constexpr float kLargest = kFormat == WeightFormat::kInt4   ? 7.0f
                                    : kFormat == WeightFormat::kInt8 ? 127.0f
                                                                     : 448.0f;

  static __device__ float round(float x) {
    if constexpr (kFormat == WeightFormat::kFp8) {
      return value_of(bits_of_fp8(x));
    } else {
      return fminf(fmaxf(rintf(x), -kLargest), kLargest);
    }
  }
  static __device__ uint32_t bits(float x) {
    if constexpr (kFormat == WeightFormat::kFp8) {
      return bits_of_fp8(x);
    } else if constexpr (kFormat == WeightFormat::kInt8) {
      return static_cast<uint32_t>(static_cast<int>(round(x))) & 0xffu;
    } else {
      return static_cast<uint32_t>(static_cast<int>(round(x)) + 8);
    }
  }
  // What is stored of a scale: 8 significant bits in f16, or f32.
  static __device__ float round_scale(float scale) {
    if constexpr (kFormat == WeightFormat::kFp8) return scale;
    return __half2float(__float2half_rn(__bfloat162float(__float2bfloat16_rn(scale))));
  }

 private:
  // Nearest even, saturating. Steps of 2^-9 below 2^-6, else three bits behind the leading one.
  static __device__ uint32_t bits_of_fp8(float x) {
    const uint32_t sign = (__float_as_uint(x) >> 24) & 0x80u;
    const float magnitude = fminf(fabsf(x), 448.0f);
    if (magnitude < 0.015625f) return sign | static_cast<uint32_t>(rintf(magnitude * 512.0f));
    const uint32_t bits = __float_as_uint(magnitude);
    const uint32_t rounded = bits + 0x7ffffu + ((bits >> 20) & 1u);
    return sign | ((rounded >> 20) - (120u << 3));
  }
  static __device__ float value_of(uint32_t code) {
    const uint32_t exponent = (code >> 3) & 15u;
    const float magnitude = exponent == 0
                                ? static_cast<float>(code & 7u) * 0.001953125f
                                : __uint_as_float(((exponent + 120u) << 23) | ((code & 7u) << 20));
    return (code & 0x80u) != 0 ? -magnitude : magnitude;
  }
};

}  // namespace switchyard::cuda
