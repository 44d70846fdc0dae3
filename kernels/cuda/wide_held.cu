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

// One way to compute a product.
struct HeldPlan {
  HeldArgs args;
  HeldShapeOf shape;
  int64_t shared_bytes = 0;
  int64_t rounds = 0;  // units that a cluster takes one after the other
  int64_t nanoseconds = std::numeric_limits<int64_t>::max();
};

// Lays out shared memory for `splits` blocks of a cluster.
void place(HeldPlan& plan, int splits) {
  HeldArgs& args = plan.args;
  const HeldShapeOf& shape = plan.shape;
  const int owned = shape.tokens / 8 / splits;
  args.splits = splits;
  args.owned_shift = std::countr_zero(static_cast<unsigned>(owned));
  args.sums_at = tiles_of_block(args, splits) * shape.tokens * kTileCols * 2;
  args.rings_at = args.sums_at + (splits - 1) * owned * shape.streams * shape.warps * 512;
  args.squares_at = args.rings_at +
                    shape.warps * held_ring(shape) * shape.streams * held_slot_bytes(shape.format);
  args.barriers_at = args.squares_at + shape.tokens * 4;
  plan.shared_bytes = args.barriers_at + int64_t{2 * shape.warps + 1} * 8;
}

// How long it takes, about: fitted to 2026-11-27's H100, where of all ways to compute the products
// of LFM2.5-8B-A1B it finds one that takes 0.3 % more than the best, on average.
void estimate(const Stream& on, HeldPlan& plan) {
  // Nanoseconds: of a warp's products of a tile of 64 tokens, from asking for weights until they
  // come, of handing over a unit's sums, of fetching a tile of x.
  constexpr int64_t kProducts = 22, kLatency = 500, kUnit = 2000, kColumns = 50;
  const HeldShapeOf& shape = plan.shape;
  const int splits = plan.args.splits;
  const int64_t token_tiles = ceil_div(plan.args.tokens, shape.tokens);
  // Clusters lie within parts of the device, where some multiprocessors stay idle.
  const auto together = [&](int64_t blocks) {
    return std::max<int64_t>(splits < 4 ? blocks / splits : blocks / splits * 15 / 16, 1);
  };
  int64_t clusters = together(on.multiprocessors);
  // Two small blocks may share a multiprocessor, and its time.
  const bool two = shape.warps == 8 && shape.streams == 1 &&
                   2 * (plan.shared_bytes + 1024) <= on.shared_bytes &&
                   plan.args.units * token_tiles > clusters;
  if (two) clusters = together(int64_t{2} * on.multiprocessors);
  plan.rounds = ceil_div(plan.args.units, std::max<int64_t>(clusters / token_tiles, 1));
  int64_t products = kProducts * shape.warps * shape.streams * (two ? 2 : 1);
  if (shape.tokens == 32) products = products * 3 / 4;
  const int64_t tiles = tiles_of_block(plan.args, splits);
  const int64_t unit = tiles * std::max(products, kLatency / held_ring(shape)) + kUnit;
  plan.nanoseconds = plan.rounds * unit + tiles * kColumns * shape.tokens / 64;
}

// Whether it is faster than the tiled kernels. Beyond one tile of tokens weights are unpacked for
// each of them: that pays where a product is short, so that its beginning and end count, and sums
// change hands rarely. fp8 takes most work to unpack.
bool pays(const HeldPlan& plan) {
  if (plan.args.tokens <= plan.shape.tokens) return true;
  return plan.shape.streams == 1 && plan.args.splits <= 4 &&
         plan.rounds <= (plan.shape.format == WeightFormat::kFp8 ? 2 : 3);
}

}  // namespace

bool held_product(const Stream& on, const WideProduct& product) {
  if (!suits(on, product)) return false;
  HeldPlan best;
  for (const int warps : {8, 16}) {
    if (warps == 16 && product.gated) continue;
    HeldPlan plan = {.args = args_of(product, warps * kTileRows),
                     .shape = {.format = product.matrix[0].weight->format,
                               .tokens = product.input.rows().dim(0) <= 32 ? 32 : 64,
                               .streams = product.gated ? 2 : 1,
                               .warps = warps}};
    const int64_t pairs = ceil_div(plan.args.k_tiles, 2);
    for (int splits = 1; splits <= std::min<int64_t>(plan.shape.tokens / 8, pairs); splits *= 2) {
      place(plan, splits);
      if (plan.shared_bytes > on.shared_bytes) continue;
      estimate(on, plan);
      if (pays(plan) && plan.nanoseconds < best.nanoseconds) best = plan;
    }
  }
  if (best.shared_bytes == 0) return false;
  launch_format(on, best.args, best.shape, best.shared_bytes);
  return true;
}

}  // namespace switchyard::cuda
