// Chooses the kernel and the tile for a product, from its shape alone.
#include "kernels/cuda/wide.h"

#include <algorithm>
#include <bit>
#include <span>

#include "kernels/cuda/norm.h"
#include "kernels/cuda/tile_layout.h"
#include "kernels/cuda/wide_args.h"
#include "kernels/cuda/wide_held.h"
#include "kernels/cuda/wide_held_experts.h"

namespace switchyard::cuda {
namespace {

template <WeightFormat kFormat>
void launch_as(const Stream& on, const WideArgs& args, const WideTile& tile, int64_t items) {
  if (tile.wgmma) {
    launch_wide_wgmma<kFormat>(on, args, tile, items);
  } else {
    launch_wide_mma<kFormat>(on, args, tile, items);
  }
}

void launch_format(const Stream& on,
                   const WideArgs& args,
                   WeightFormat format,
                   const WideTile& tile,
                   int64_t items) {
  switch (format) {
    case WeightFormat::kBf16:
      return launch_as<WeightFormat::kBf16>(on, args, tile, items);
    case WeightFormat::kFp8:
      return launch_as<WeightFormat::kFp8>(on, args, tile, items);
    case WeightFormat::kInt8:
      return launch_as<WeightFormat::kInt8>(on, args, tile, items);
    case WeightFormat::kInt4:
      return launch_as<WeightFormat::kInt4>(on, args, tile, items);
    case WeightFormat::kF32:
    case WeightFormat::kF16:
      CHECK(false);  // Backend::multiplies
  }
}

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

template <typename W>
WideArgs args_of(const W& weight, const __nv_bfloat16* x, bool gated) {
  WideArgs args;
  args.x = x;
  args.x_aligned = aligned(x) && weight.cols % 8 == 0;
  args.cols = static_cast<int>(weight.cols);
  if (weight.group > 0) {
    args.group_shift = std::countr_zero(static_cast<unsigned>(weight.group));
    CHECK(weight.group == 1 << args.group_shift && weight.group >= 32);
  }
  args.groups = static_cast<int>(groups_of(weight.group, weight.cols));
  args.k_tiles = static_cast<int>(col_tiles(weight.cols));
  args.narrow_codes = weight.format == WeightFormat::kInt4;
  args.gated = gated;
  return args;
}

// Blocks of rows of all matrices, in tiles of this many rows.
int64_t row_blocks(const WideArgs& args, const WideTile& tile) {
  const int64_t outputs = args.gated ? tile.rows / 2 : tile.rows;
  int64_t blocks = 0;
  for (const WideMatrix& matrix : args.matrix) blocks += ceil_div(matrix.rows, outputs);
  return args.gated ? blocks / 2 : blocks;
}

void place_matrices(WideArgs& args, const WideTile& tile) {
  args.row_blocks = static_cast<int>(row_blocks(args, tile));
  if (args.gated) {
    args.matrix[0].first_block = 0;
    return;
  }
  int blocks = 0;
  for (WideMatrix& matrix : args.matrix) {
    if (matrix.rows == 0) return;
    matrix.first_block = blocks;
    blocks += static_cast<int>(ceil_div(matrix.rows, tile.rows));
  }
}

// Splits of the columns, where blocks are too few to keep the memory busy.
int splits_for(const Stream& on, const WideArgs& args, const WideTile& tile, int64_t blocks) {
  constexpr int kLeastTiles = 8;
  const int64_t wanted = on.multiprocessors * int64_t{tile.per_processor} / blocks;
  const int64_t bytes = blocks * tile.tokens * tile.rows * 4;
  const int64_t most = std::min<int64_t>({args.k_tiles / kLeastTiles, on.partial_bytes() / bytes,
                                          blocks <= Stream::kCounters ? 8 : 1});
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, std::max<int64_t>(most, 1)));
}

// Of the two largest tiles, the one that fetches less: more rows of small weights, or more tokens.
bool suits(const WideTile& tile, const WideArgs& args) {
  const bool small = args.groups > 0;
  return tile.tokens * tile.rows < 128 * 256 || (tile.rows == 256) == small;
}

// Operands of wider weights leave registers for one block of 128 x 128 instead of two.
int fits(const WideTile& tile, const WideArgs& args) {
  return tile.wgmma && tile.tokens == 128 && !args.narrow_codes ? 1 : tile.per_processor;
}

WideTile tile_for_rows(const Stream& on, const WideArgs& args, int64_t rows) {
  if (args.groups > 0 && args.group_shift < 6) return kFineTile;
  const bool wgmma = on.capability == 90;
  if (rows <= 16) return kMmaTiles[0];
  if (rows <= 32) return kMmaTiles[1];
  const auto tiles = wgmma ? std::span<const WideTile>(kWgmmaTiles)
                           : std::span<const WideTile>(kMmaTiles).subspan(2);
  // The fewest rounds over the device, each as long as its products and what a block costs besides.
  constexpr int64_t kBlockCost = 6000;
  const WideTile* best = nullptr;
  int64_t least = 0;
  for (const WideTile& tile : tiles) {
    if (!suits(tile, args)) continue;
    const int64_t blocks = row_blocks(args, tile) * ceil_div(rows, tile.tokens);
    const int64_t together =
        std::min<int64_t>(fits(tile, args), ceil_div(blocks, on.multiprocessors));
    const int64_t rounds = ceil_div(blocks, on.multiprocessors * together);
    const int64_t time = rounds * (together * tile.tokens * tile.rows + kBlockCost);
    if (best == nullptr || time < least) {
      best = &tile;
      least = time;
    }
  }
  return *best;
}

WideTile tile_for_experts(const Stream& on, const WideArgs& args) {
  if (args.groups > 0 && args.group_shift < 6) return kFineTile;
  const int64_t average = ceil_div(args.tokens, args.experts);
  if (average <= 12) return kMmaTiles[0];
  if (average <= 28) return kMmaTiles[1];
  const bool wgmma = on.capability == 90;
  if (average <= 64) return wgmma ? kWgmmaTiles[0] : kMmaTiles[2];
  if (!wgmma) return kMmaTiles[3];
  if (average <= 128) return kWgmmaTiles[1];
  return kWgmmaTiles[suits(kWgmmaTiles[2], args) ? 2 : 3];
}

}  // namespace

void wide_product(const Stream& on, const WideProduct& product) {
  const Tensor& x = product.input.rows();
  const Weight& weight = *product.matrix[0].weight;
  CHECK(!product.gated ||
        (product.matrix[1].weight->rows == weight.rows && product.matrix[2].weight == nullptr));
  CHECK(product.residual == nullptr || product.matrix[1].weight == nullptr);
  for (const auto& [other, out, stride] : product.matrix) {
    CHECK(other == nullptr || (other->format == weight.format && other->group == weight.group &&
                               other->cols == weight.cols));
  }
  if (x.dim(0) == 0 || held_product(on, product)) return;
  norm_input(on, product.input);
  WideArgs args = args_of(weight, static_cast<const __nv_bfloat16*>(x.data), product.gated);
  args.tokens = static_cast<int>(x.dim(0));
  args.out_f32 = product.out_type == DType::kF32;
  args.residual = product.residual;
  args.out_aligned =
      product.residual == nullptr || (aligned(product.residual) && weight.rows % 8 == 0);
  int64_t bytes = 0;
  for (int m = 0; m < kWideMatrices && product.matrix[m].weight != nullptr; ++m) {
    const auto& [other, out, stride] = product.matrix[m];
    args.matrix[m] = {.data = other->data,
                      .scale = other->scale,
                      .out = out,
                      .out_stride = stride,
                      .rows = static_cast<int>(other->rows)};
    const bool written = m == 0 || !product.gated;
    args.out_aligned = args.out_aligned && (!written || (aligned(out) && stride % 8 == 0));
    bytes += packed_data_bytes(other->format, other->rows, other->cols);
  }
  const WideTile tile = tile_for_rows(on, args, args.tokens);
  place_matrices(args, tile);
  const int64_t items = ceil_div(args.tokens, tile.tokens);
  args.splits = splits_for(on, args, tile, args.row_blocks * items);
  args.partials = static_cast<float*>(on.partials());
  args.counters = on.counters();
  // Blocks that run together share the smaller operand, and the larger is read once.
  args.tokens_fastest = items > 1 && x.bytes() < bytes;
  launch_format(on, args, weight.format, tile, items);
}

void wide_experts(const Stream& on, const WideExperts& product) {
  const ExpertWeight& weight = product.weight;
  const Tensor& expert = product.routing.expert;
  const int64_t entries = expert.elements();
  if (entries == 0 || held_experts(on, product)) return;
  WideArgs args = args_of(weight, product.x, product.up.data != nullptr);
  args.expert_data[0] = weight.data;
  args.expert_data[1] = product.up.data;
  args.expert_scale[0] = weight.scale;
  args.expert_scale[1] = product.up.scale;
  args.tokens = static_cast<int>(entries);
  args.order = product.routing.order.i32();
  args.expert_start = product.routing.expert_start.i32();
  args.experts = static_cast<int>(weight.experts);
  args.entries_per_row = product.per_entry ? 1 : static_cast<int>(expert.dim(1));
  for (int m = 0; m < (args.gated ? 2 : 1); ++m) {
    args.matrix[m].out = product.out;
    args.matrix[m].out_stride = weight.rows;
    args.matrix[m].rows = static_cast<int>(weight.rows);
  }
  args.out_aligned = aligned(product.out) && weight.rows % 8 == 0;
  const WideTile tile = tile_for_experts(on, args);
  place_matrices(args, tile);
  // Every expert may end with a tile that is not full, but no more than there are entries.
  const int64_t items = std::min(entries, entries / tile.tokens + weight.experts);
  launch_format(on, args, weight.format, tile, items);
}

}  // namespace switchyard::cuda
