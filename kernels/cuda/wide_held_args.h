// What the held kernel is given. Internal to wide_held.cu and sm90/.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <limits>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tile_layout.h"
#include "kernels/cuda/wide_held.h"

namespace switchyard::cuda {

inline constexpr int kHeldSplits = 8;  // the most blocks of a cluster

struct HeldMatrix {
  const char* data = nullptr;
  const char* scale = nullptr;
  void* out = nullptr;
  int64_t out_stride = 0;
  int rows = 0;
  int first_unit = std::numeric_limits<int>::max();  // beyond all for a matrix that is not there
};

struct HeldArgs {
  const __nv_bfloat16* x = nullptr;
  const int32_t* gather = nullptr;
  const float* gain = nullptr;
  float epsilon = 0;
  float inverse_cols = 0;
  int tokens = 0, cols = 0;
  int group_shift = 0, groups = 0, k_tiles = 0;  // groups of 1 << group_shift columns
  HeldMatrix matrix[kWideMatrices];
  int units = 0;  // of 16 rows for each warp of a block, those of a matrix after those of another
  bool out_f32 = false;
  const __nv_bfloat16* residual = nullptr;

  int splits = 1;       // blocks of a cluster: a power of two
  int owned_shift = 0;  // a block finishes 1 << owned_shift times eight tokens, at least eight
  // Bytes into shared memory, behind x: sums received, rings of weights, sums of squares, barriers.
  int sums_at = 0, rings_at = 0, squares_at = 0, barriers_at = 0;
};

// The shape of a kernel's blocks.
struct HeldShapeOf {
  WeightFormat format = WeightFormat::kBf16;
  int tokens = 0;   // of a tile: 32 or 64
  int streams = 0;  // 2: gated
  int warps = 0;    // 8, or 16 where not gated
};

// A tile of weights in a ring, its eight pairs of scales behind its codes.
constexpr int held_slot_bytes(WeightFormat format) {
  return static_cast<int>(tile_bytes(format)) +
         (is_quantised(format) ? kTileRows * static_cast<int>(bytes_of_scale(format)) : 0);
}
// Tiles (of each stream) in a warp's ring: about 4 KiB, by 16 warps what room 64 x 1024 of x and
// their sums leave; twice that where few rows of x leave room and many weights may follow each
// other.
constexpr int held_ring(const HeldShapeOf& shape) {
  const int bytes = shape.warps < 16 ? 4352 : shape.tokens == 32 ? 8704 : 4248;
  return std::clamp(bytes / (held_slot_bytes(shape.format) * shape.streams), 2, 8);
}

template <WeightFormat kFormat>
void launch_held(const Stream& on, const HeldArgs& args, const HeldShapeOf& shape, int64_t shared);

}  // namespace switchyard::cuda
