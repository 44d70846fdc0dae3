// f32 to and from the stored formats, element by element; narrowing rounds to nearest, ties to
// even, and keeps NaN a NaN.
#pragma once

#include <cstdint>

#include "kernels/base/tensor.h"

namespace switchyard::cpu {

float from_f16(uint16_t bits);
float from_bf16(uint16_t bits);
uint16_t to_f16(float value);
uint16_t to_bf16(float value);

// `count` elements; `dtype` is a float type.
void widen(const void* from, DType dtype, int64_t count, float* to);
void narrow(const float* from, DType dtype, int64_t count, void* to);

}  // namespace switchyard::cpu
