// The two inner loops of attention that are not dot products: turning a block of scores into
// weights, and adding up weighted values. Knows nothing of blocks, heads or threads.
#pragma once

#include <cstdint>

#include "kernels/base/tensor.h"

namespace switchyard::cpu {

// Softmax taken piece by piece (Milakov & Gimelshein, "Online normalizer calculation for softmax").
struct RunningSoftmax {
  float largest;  // of the scaled scores so far; -infinity at the start
  float total;    // of exp(score - largest) so far
};

// scores[i] = exp(scale * scores[i] - largest), with `running` brought up to date. Returns what
// everything accumulated before must be multiplied with. count <= 64.
float softmax_piece(float* scores, int count, float scale, RunningSoftmax& running);

// accumulated[m][d] = accumulated[m][d] * rescale[m] + sum_j weight[m][j] * value[j][d],
// j in rising order for every m, whatever `rows`.
struct WeightedValues {
  float* const* accumulated = nullptr;   // [rows] pointers to [dim]
  const float* const* weight = nullptr;  // [rows] pointers to [count]
  const float* rescale = nullptr;        // [rows]
  int rows = 0;
  const void* value = nullptr;  // [count, dim]
  DType dtype = DType::kF32;
  int count = 0;
  int64_t dim = 0;
};
void add_weighted_values(const WeightedValues& args);

}  // namespace switchyard::cpu
