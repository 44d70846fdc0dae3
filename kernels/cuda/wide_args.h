// What a wide kernel is given, a product and a product of experts alike, and how one is launched.
// Internal to wide*.cu and sm90/.
#pragma once

#include <cuda_bf16.h>

#include <limits>

#include "kernels/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/wide.h"

namespace switchyard::cuda {

// A matrix of a product and where its outputs go; the blocks of rows of several follow each other.
struct WideMatrix {
  const void* data = nullptr;
  const void* scale = nullptr;
  void* out = nullptr;
  int64_t out_stride = 0;
  int rows = 0;
  int first_block = std::numeric_limits<int>::max();  // beyond all for one that is not there
};

struct WideArgs {
  const __nv_bfloat16* x = nullptr;
  bool x_aligned = false;  // every row of x at a multiple of 16 bytes
  int cols = 0;
  int group_shift = 0, groups = 0, k_tiles = 0;  // groups of 1 << group_shift columns
  bool gated = false;
  bool narrow_codes = false;  // int4
  // Of a product: one to three of them or, if gated, weight and up, which share their blocks. Of
  // experts the first two alone, without data.
  WideMatrix matrix[kWideMatrices];
  int row_blocks = 0;
  const void* const* expert_data[2] = {nullptr, nullptr};
  const void* const* expert_scale[2] = {nullptr, nullptr};

  int tokens = 0;                         // rows of the result
  const int32_t* order = nullptr;         // null: a product
  const int32_t* expert_start = nullptr;  // [experts + 1]
  int experts = 0;
  int entries_per_row = 1;  // entry i reads row i / entries_per_row of x

  bool out_f32 = false, out_aligned = false;  // eight elements of it at a multiple of 16 bytes
  const __nv_bfloat16* residual = nullptr;

  // Splits of the columns hand over what they summed in `partials`; the last to come, by
  // `counters`, adds up and writes.
  int splits = 1;
  float* partials = nullptr;
  uint32_t* counters = nullptr;
  bool tokens_fastest = false;  // which blocks run together: those of a block of rows, or of tokens
};

// The shape of a kernel's blocks.
struct WideTile {
  int tokens = 0;
  int rows = 0;           // of weights; of gated ones half as many outputs
  int per_processor = 0;  // blocks that run together on a multiprocessor
  bool wgmma = false;
};
inline constexpr WideTile kMmaTiles[] = {{16, 64, 4}, {32, 64, 4}, {64, 128, 1}, {128, 128, 2}};
inline constexpr WideTile kFineTile = kMmaTiles[2];  // all that there is for groups of 32
inline constexpr WideTile kWgmmaTiles[] = {
    {64, 128, 2, true}, {128, 128, 2, true}, {128, 256, 1, true}, {256, 128, 1, true}};

inline dim3 wide_grid(const WideArgs& args, int64_t items) {
  const auto row_blocks = static_cast<unsigned>(args.row_blocks);
  const auto tiles = static_cast<unsigned>(items);
  const auto splits = static_cast<unsigned>(args.splits);
  return args.tokens_fastest ? dim3(tiles, row_blocks, splits) : dim3(row_blocks, tiles, splits);
}

// Launches the kernel of one of kMmaTiles or kWgmmaTiles. `items` is the number of tiles of tokens,
// or a bound.
template <WeightFormat kFormat>
void launch_wide_mma(const Stream& on, const WideArgs& args, const WideTile& tile, int64_t items);
template <WeightFormat kFormat>
void launch_wide_wgmma(const Stream& on, const WideArgs& args, const WideTile& tile, int64_t items);

}  // namespace switchyard::cuda
