// A tile of dot products: the one inner loop behind every matrix product and attention score.
// Knows nothing of ops or threads.
#pragma once

#include <cstdint>

#include "kernels/base/weight.h"

namespace switchyard::cpu {

// out[m * out_stride + n] = sum_k x[m][k] * weight[n * cols + k],  m < rows, n < outputs.
// A quantised weight is read as in kernels/cpu/pack.h; its sum is that of scale * (sum of x * code)
// over the groups. Each sum is taken in one fixed order (one vector accumulator over k or the
// group's columns, one over the groups, then across the lanes), so it has the same bits whatever
// the tile around it. Nothing need be aligned beyond its element.
struct DotTile {
  const float* const* x = nullptr;  // [rows] pointers to [cols]
  int rows = 0;
  const void* weight = nullptr;  // [outputs, cols]
  const void* scale = nullptr;   // [outputs, groups of a row]; null: a format without scales
  WeightFormat format = WeightFormat::kF32;
  int group = 0;  // columns that share a scale
  int64_t cols = 0;
  int outputs = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
};

void dot_tile(const DotTile& tile);

}  // namespace switchyard::cpu
