// What the kernel of held experts is given. Internal to wide_held_experts.cu and sm90/.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/wide_held_args.h"

namespace switchyard::cuda {

struct HeldExpertsArgs {
  const __nv_bfloat16* x = nullptr;
  int entries_per_row = 1;  // entry i reads row i / entries_per_row of x
  int cols = 0;
  int group_shift = 0, groups = 0;  // groups of 1 << group_shift columns
  int k_tiles = 0, held_tiles = 0;  // of 64 columns; held are an even number
  const void* const* data[2] = {nullptr, nullptr};
  const void* const* scale[2] = {nullptr, nullptr};
  const int32_t* order = nullptr;
  const int32_t* expert_start = nullptr;  // [experts + 1]
  int experts = 0;
  __nv_bfloat16* out = nullptr;  // [entries, rows]
  int rows = 0;                  // an even number
  int units = 0;                 // of a tile of entries: 16 rows for each warp of a block

  int capacity = 0;  // entries of a tile at most: a multiple of eight up to held_entries()
  // Bytes into shared memory, behind x: rings of weights, numbers of entries.
  int rings_at = 0, entries_at = 0;
};

// As many as there are registers for their sums.
constexpr int held_entries(int streams) { return streams == 2 ? 48 : 40; }
// Gated products have sums of two matrices, and half the warps.
constexpr int held_expert_warps(int streams) { return streams == 2 ? 8 : 16; }
// Tiles (of each stream) in a warp's ring: 34 KiB of a block's weights are under way.
constexpr int held_expert_ring(int streams) {
  return 34816 / (held_expert_warps(streams) * held_slot_bytes(WeightFormat::kInt4) * streams);
}

void launch_held_experts(const Stream& on,
                         const HeldExpertsArgs& args,
                         int streams,
                         int64_t shared);

}  // namespace switchyard::cuda
