// Weights into the CPU's layout, and made-up ones.
//
// Floats lie row-major. Codes lie row-major too, each row beginning at a byte: one byte a code, or
// of int4 two codes a byte as code + 8, the even column in the low half. Behind them, in memory of
// their own, the scales: row-major [rows, groups of a row], f16 (fp8: f32).
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

void pack(ThreadPool& pool, const PackArgs& args);

// Sums of four uniform numbers, no farther than 3.45 deviations from 0.
void fill_normal(ThreadPool& pool, const NormalArgs& args);

// Bytes of the codes and of the scales of so many rows; where row n begins is that of n rows.
WeightBytes bytes_of_rows(WeightFormat format, int group, int64_t cols, int64_t rows);

}  // namespace switchyard::cpu
