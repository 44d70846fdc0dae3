// Chooses whether experts are held, and how many entries a tile has.
#include "kernels/cuda/wide_held_experts.h"

#include <bit>

#include "kernels/cuda/tile_layout.h"
#include "kernels/cuda/wide_held_experts_args.h"

namespace switchyard::cuda {
namespace {

// Entries of an expert on average up to which weights may be read once for each tile of them.
constexpr int64_t kMostEntries = 96;
constexpr int kLeastCapacity = 32;

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Lays out shared memory for as many entries as have room; returns its bytes, or 0.
int64_t place(const Stream& on, HeldExpertsArgs& args, int streams) {
  const int rings = held_expert_warps(streams) * held_expert_ring(streams) * streams *
                    held_slot_bytes(WeightFormat::kInt4);
  for (int capacity = held_entries(streams); capacity >= kLeastCapacity; capacity -= 8) {
    args.capacity = capacity;
    args.rings_at = args.held_tiles * capacity * kTileCols * 2;
    args.entries_at = args.rings_at + rings;
    const int64_t bytes = args.entries_at + int64_t{capacity} * 4;
    if (bytes <= on.shared_bytes) return bytes;
  }
  return 0;
}

}  // namespace

bool held_experts(const Stream& on, const WideExperts& product) {
  const ExpertWeight& weight = product.weight;
  const Tensor& expert = product.routing.expert;
  if (on.capability != 90 || weight.format != WeightFormat::kInt4 || weight.group < kTileCols ||
      expert.elements() > weight.experts * kMostEntries || weight.cols % 8 != 0 ||
      weight.rows % 2 != 0 || !aligned(product.x) || !aligned(product.out)) {
    return false;
  }
  const int streams = product.up.data != nullptr ? 2 : 1;
  HeldExpertsArgs args;
  args.x = product.x;
  args.entries_per_row = product.per_entry ? 1 : static_cast<int>(expert.dim(1));
  args.cols = static_cast<int>(weight.cols);
  args.group_shift = std::countr_zero(static_cast<unsigned>(weight.group));
  CHECK(weight.group == 1 << args.group_shift);
  args.groups = static_cast<int>(groups_of(weight.group, weight.cols));
  args.k_tiles = static_cast<int>(col_tiles(weight.cols));
  args.held_tiles = (args.k_tiles + 1) / 2 * 2;
  args.data[0] = weight.data;
  args.data[1] = product.up.data;
  args.scale[0] = weight.scale;
  args.scale[1] = product.up.scale;
  args.order = product.routing.order.i32();
  args.expert_start = product.routing.expert_start.i32();
  args.experts = static_cast<int>(weight.experts);
  args.out = product.out;
  args.rows = static_cast<int>(weight.rows);
  args.units = static_cast<int>(ceil_div(weight.rows, held_expert_warps(streams) * kTileRows));
  const int64_t shared = place(on, args, streams);
  if (shared == 0) return false;
  launch_held_experts(on, args, streams, shared);
  return true;
}

}  // namespace switchyard::cuda
