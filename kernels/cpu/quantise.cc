#include "kernels/cpu/quantise.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "kernels/cpu/convert.h"

namespace switchyard::cpu {
namespace {

constexpr int kCandidates = 32;
constexpr size_t kLargestGroup = 128;
constexpr float kLargestE4m3 = 448;
constexpr float kLargestScale = 65280;  // 255 * 2^8

// Adding and subtracting it rounds a number below 2^22 to a whole one, ties to even, without a call
// in the inner loop.
constexpr float kRounder = 12582912;  // 1.5 * 2^23

float largest_code(WeightFormat format) {
  return format == WeightFormat::kFp8 ? kLargestE4m3 : format == WeightFormat::kInt8 ? 127 : 7;
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    const float magnitude = std::abs(value);
    largest = magnitude > largest ? magnitude : largest;  // NaN is not
  }
  return largest;
}

// Clamped first: the bounds are whole, so it makes no difference.
float nearest_integer(float value, float bound) {
  float clamped = value < bound ? value : bound;
  clamped = clamped > -bound ? clamped : -bound;
  clamped = value == value ? clamped : 0.0F;
  return (clamped + kRounder) - kRounder;
}

void encode_integers(float scale, float bound, std::span<const float> values, uint8_t* codes) {
  for (size_t i = 0; i < values.size(); ++i) {
    codes[i] =
        static_cast<uint8_t>(static_cast<int32_t>(nearest_integer(values[i] / scale, bound)));
  }
}

float squared_error(WeightFormat format, float scale, std::span<const float> values) {
  CHECK(values.size() <= kLargestGroup);
  std::array<float, kLargestGroup> errors;
  if (format == WeightFormat::kFp8) {
    for (size_t i = 0; i < values.size(); ++i) {
      errors[i] = values[i] - scale * from_e4m3(to_e4m3(values[i] / scale));
    }
  } else {
    const float bound = largest_code(format);
    for (size_t i = 0; i < values.size(); ++i) {
      errors[i] = values[i] - scale * nearest_integer(values[i] / scale, bound);
    }
  }
  float sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += errors[i] * errors[i];
  return sum;
}

}  // namespace

uint8_t to_e4m3(float value) {
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 24 & 0x80;
  float magnitude = std::abs(value);
  if (!(magnitude == magnitude)) return 0;
  magnitude = std::min(magnitude, kLargestE4m3);
  if (magnitude < 0x1p-6F) {
    // Subnormal, a multiple of 2^-9, which is the unit of the last place at 2^14.
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(magnitude + 0x1p14F) & 0xf));
  }
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7ffff + (bits >> 20 & 1);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - ((127 - 7) << 3)));
}

float from_e4m3(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fU;
  const uint32_t sign = uint32_t{bits & 0x80U} << 24;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000U);
  const float value = magnitude < 8
                          ? static_cast<float>(magnitude) * 0x1p-9F
                          : std::bit_cast<float>((magnitude << 20) + (uint32_t{127 - 7} << 23));
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

float rounded_scale(WeightFormat format, float scale) {
  if (format == WeightFormat::kFp8) return scale;
  return from_f16(to_f16(std::min(from_bf16(to_bf16(scale)), kLargestScale)));
}

float choose_scale(WeightFormat format, ScaleChoice choice, std::span<const float> values) {
  const float largest = largest_magnitude(values) / largest_code(format);
  float best = rounded_scale(format, largest);
  if (choice == ScaleChoice::kRound || best == 0) return best;
  float least = squared_error(format, best, values);
  for (int i = 1; i < kCandidates; ++i) {
    const float factor = 1.0F - static_cast<float>(i) / (2 * (kCandidates - 1));
    const float scale = rounded_scale(format, largest * factor);
    const float error = squared_error(format, scale, values);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

void encode(WeightFormat format, float scale, std::span<const float> values, uint8_t* codes) {
  CHECK(is_quantised(format));
  if (scale == 0) {
    std::fill_n(codes, values.size(), uint8_t{0});
  } else if (format == WeightFormat::kFp8) {
    for (size_t i = 0; i < values.size(); ++i) codes[i] = to_e4m3(values[i] / scale);
  } else {
    encode_integers(scale, largest_code(format), values, codes);
  }
}

float decode(WeightFormat format, float scale, uint8_t code) {
  CHECK(is_quantised(format));
  if (format == WeightFormat::kFp8) return scale * from_e4m3(code);
  return scale * static_cast<float>(static_cast<int8_t>(code));
}

}  // namespace switchyard::cpu
