// Per-head RMS norm and the half-split rotary embedding.
#pragma once

#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace switchyard::cpu {

// One tensor's heads, rotated in place: head h of token t is heads + t * stride + h * head_dim.
struct RopeHeads {
  float* heads = nullptr;
  int64_t stride = 0;
  int count = 0;
  const float* gain = nullptr;  // [head_dim], or null: no norm
};

struct RopeArgs {
  RopeHeads q;
  RopeHeads k;
  int head_dim = 0;
  float epsilon = 0;
  const float* inv_frequency = nullptr;  // [head_dim / 2]
  const int32_t* position = nullptr;     // [tokens]
  int tokens = 0;
};

// (a, b) = (x[i], x[i + D/2]) becomes (a cos - b sin, b cos + a sin), angle = position *
// inv_frequency[i] in f32.
void norm_and_rope(ThreadPool& pool, const RopeArgs& args);

}  // namespace switchyard::cpu
