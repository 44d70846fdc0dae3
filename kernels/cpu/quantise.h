// How one group of a row becomes codes and a scale, and back: the arithmetic of the quantised
// formats (kernels/base/weight.h), number by number. Every backend's packing has these results.
// Knows no layouts, matrices or threads.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"

namespace switchyard::cpu {

// The nearest E4M3 number, ties to even, +-448 beyond the range. NaN becomes 0: no format has it.
uint8_t to_e4m3(float value);
// NaN of 0x7f and 0xff, which to_e4m3 never gives.
float from_e4m3(uint8_t bits);

// What a scale of this format is rounded to: of the integer formats to 8 significant bits and then
// to f16, ties to even, at most the largest such number (65280); of fp8 nothing.
float rounded_scale(WeightFormat format, float scale);

// The scale of a group, of kSearch the one of 32 (largest / largest code * (1 - i / 62), rounded)
// whose codes have the least sum of squared errors, taken in f32 in the order of the values; the
// first of equals.
float choose_scale(WeightFormat format, ScaleChoice choice, std::span<const float> values);

// codes[i] = the code of values[i] / scale, clamped: of the integer formats two's complement
// (also of int4, one a byte), of fp8 E4M3 bits. A scale of 0 makes codes of 0, and so does NaN.
// `codes` has room for all values.
void encode(WeightFormat format, float scale, std::span<const float> values, uint8_t* codes);

// scale * code, of a code as encode() writes it.
float decode(WeightFormat format, float scale, uint8_t code);

}  // namespace switchyard::cpu
