// Conversions by bits (IEEE 754 binary16; bfloat16 is the upper half of binary32).
#include "kernels/cpu/convert.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/base/check.h"

namespace switchyard::cpu {

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  const uint32_t half = 0x7fff + (bits >> 16 & 1);
  return static_cast<uint16_t>((bits + half) >> 16);
}

float from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 31;
  const uint32_t mantissa = bits & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: a multiple of 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide_exponent = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide_exponent << 23 | mantissa << 13);
}

uint16_t to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to infinity: >= 65520
  if (magnitude < 0x38800000) {                       // below 2^-14: a multiple of 2^-24
    // Adding 0.5 makes the unit of the last place 2^-24, so the adder does the rounding.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000);
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

void widen(const void* from, DType dtype, int64_t count, float* to) {
  if (dtype == DType::kF32) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  CHECK(dtype != DType::kI32);
  const auto* stored = static_cast<const uint16_t*>(from);
  if (dtype == DType::kBf16) {
    for (int64_t i = 0; i < count; ++i) to[i] = from_bf16(stored[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from_f16(stored[i]);
  }
}

void narrow(const float* from, DType dtype, int64_t count, void* to) {
  if (dtype == DType::kF32) {
    std::memcpy(to, from, count * sizeof(float));
    return;
  }
  CHECK(dtype != DType::kI32);
  auto* stored = static_cast<uint16_t*>(to);
  if (dtype == DType::kBf16) {
    for (int64_t i = 0; i < count; ++i) stored[i] = to_bf16(from[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) stored[i] = to_f16(from[i]);
  }
}

}  // namespace switchyard::cpu
