// Chooses how many blocks share the columns of a held product.
#include "kernels/cuda/wide_held.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>

#include "kernels/cuda/wide_held_args.h"

namespace switchyard::cuda {
namespace {

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

void launch_format(const Stream& on,
                   const HeldArgs& args,
                   const HeldShapeOf& shape,
                   int64_t shared) {
  switch (shape.format) {
    case WeightFormat::kBf16:
      return launch_held<WeightFormat::kBf16>(on, args, shape, shared);
    case WeightFormat::kFp8:
      return launch_held<WeightFormat::kFp8>(on, args, shape, shared);
    case WeightFormat::kInt8:
      return launch_held<WeightFormat::kInt8>(on, args, shape, shared);
    case WeightFormat::kInt4:
      return launch_held<WeightFormat::kInt4>(on, args, shape, shared);
    case WeightFormat::kF32:
    case WeightFormat::kF16:
      CHECK(false);  // Backend::multiplies
  }
}

bool suits(const Stream& on, const WideProduct& product) {
  const NormedInput& input = product.input;
  const Weight& weight = *product.matrix[0].weight;
  return on.capability == 90 && input.rows().dim(0) <= kHeldRows && weight.cols % 8 == 0 &&
         aligned(input.x.data) && aligned(input.gain.data) &&
         (weight.group == 0 || weight.group >= kTileCols) &&
         std::all_of(std::begin(product.matrix), std::end(product.matrix), [](const auto& matrix) {
           return matrix.weight == nullptr ||
                  (aligned(matrix.weight->data) && aligned(matrix.weight->scale));
         });
}

// Columns come in pairs of tiles, the last perhaps with one of zeros.
int tiles_of_block(const HeldArgs& args, int splits) {
  return 2 * static_cast<int>(ceil_div(ceil_div(args.k_tiles, 2), splits));
}

HeldArgs args_of(const WideProduct& product, int rows_of_unit) {
  const NormedInput& input = product.input;
  const Weight& weight = *product.matrix[0].weight;
  HeldArgs args;
  args.x = static_cast<const __nv_bfloat16*>(input.x.data);
  args.gather = input.gather;
  args.gain = input.gain.empty() ? nullptr : input.gain.f32();
  args.epsilon = input.epsilon;
  args.tokens = static_cast<int>(input.rows().dim(0));
  args.cols = static_cast<int>(weight.cols);
  args.inverse_cols = 1.0F / static_cast<float>(weight.cols);
  if (weight.group > 0) {
    args.group_shift = std::countr_zero(static_cast<unsigned>(weight.group));
    CHECK(weight.group == 1 << args.group_shift);
  }
  args.groups = static_cast<int>(groups_of(weight.group, weight.cols));
  args.k_tiles = static_cast<int>(col_tiles(weight.cols));
  args.out_f32 = product.out_type == DType::kF32;
  args.residual = product.residual;
  for (int m = 0; m < kWideMatrices && product.matrix[m].weight != nullptr; ++m) {
    const WideProduct::Matrix& matrix = product.matrix[m];
    if (product.gated) args.units = 0;  // they share their units
    args.matrix[m] = {.data = static_cast<const char*>(matrix.weight->data),
                      .scale = static_cast<const char*>(matrix.weight->scale),
                      .out = matrix.out,
                      .out_stride = matrix.out_stride,
                      .rows = static_cast<int>(matrix.weight->rows),
                      .first_unit = args.units};
    args.units += static_cast<int>(ceil_div(matrix.weight->rows, rows_of_unit));
  }
  return args;
}

// Chooses the blocks of a cluster, lays out their shared memory; returns its bytes.
int64_t place(HeldArgs& args, const HeldShapeOf& shape, int splits) {
  const int owned = shape.tokens / 8 / splits;
  args.splits = splits;
  args.owned_shift = std::countr_zero(static_cast<unsigned>(owned));
  args.sums_at = tiles_of_block(args, splits) * shape.tokens * kTileCols * 2;
  args.rings_at = args.sums_at + (splits - 1) * owned * shape.streams * shape.warps * 512;
  args.squares_at = args.rings_at +
                    shape.warps * held_ring(shape) * shape.streams * held_slot_bytes(shape.format);
  args.barriers_at = args.squares_at + shape.tokens * 4;
  return args.barriers_at + int64_t{2 * shape.warps + 1} * 8;
}

}  // namespace

bool held_product(const Stream& on, const WideProduct& product) {
  if (!suits(on, product)) return false;
  // Nanoseconds: of a tile's products, of handing over a unit's sums, of fetching columns of x.
  constexpr int64_t kTile = 300, kUnit = 1000, kColumns = 100;
  int64_t least = std::numeric_limits<int64_t>::max();
  HeldArgs best;
  HeldShapeOf best_shape;
  int64_t best_bytes = 0;
  for (const int warps : {8, 16}) {
    if (warps == 16 && product.gated) continue;
    const HeldShapeOf shape = {.format = product.matrix[0].weight->format,
                               .tokens = product.input.rows().dim(0) <= 32 ? 32 : 64,
                               .streams = product.gated ? 2 : 1,
                               .warps = warps};
    HeldArgs args = args_of(product, warps * kTileRows);
    const int64_t pairs = ceil_div(args.k_tiles, 2);
    for (int splits = 1; splits <= std::min<int64_t>(shape.tokens / 8, pairs); splits *= 2) {
      const int64_t bytes = place(args, shape, splits);
      if (bytes > on.shared_bytes) continue;
      // Two small blocks may share a multiprocessor, and its time.
      const bool two = warps == 8 && !product.gated && 2 * (bytes + 1024) <= on.shared_bytes &&
                       args.units * splits > on.multiprocessors;
      const int64_t together = std::max(on.multiprocessors * (two ? 2 : 1) / splits, 1);
      const int64_t tiles = tiles_of_block(args, splits);
      const int64_t unit = tiles * shape.streams * kTile * (two ? 2 : 1) + kUnit;
      const int64_t time = ceil_div(args.units, together) * unit + tiles * kColumns;
      if (time >= least) continue;
      least = time;
      best = args;
      best_shape = shape;
      best_bytes = bytes;
    }
  }
  if (best_bytes == 0) return false;
  launch_format(on, best, best_shape, best_bytes);
  return true;
}

}  // namespace switchyard::cuda
