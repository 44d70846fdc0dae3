// The wide kernel of sm_90a: a warpgroup multiplies 64 rows of weights, made into bf16 operands in
// registers while the products before run, with a swizzled tile of tokens in shared memory.
// Included by one file per format. Scales must cover whole tiles: groups of 64 columns or more.
#pragma once

#include <algorithm>

#include "kernels/cuda/sm90/wgmma.cuh"
#include "kernels/cuda/wide_out.cuh"

namespace switchyard::cuda {
namespace {

// A warpgroup owns kSlots times 64 rows.
template <WeightFormat kWeightFormat,
          int kTileTokens,
          int kRowsOf64,
          int kAhead,
          int kCopied,
          int kBlocksTogether>
struct WgmmaShape {
  static constexpr WeightFormat kFormat = kWeightFormat;
  static constexpr int kTokens = kTileTokens;
  static constexpr int kSlots = kRowsOf64;
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kRowTiles = kSlots * kWarps;
  static constexpr int kRows = 16 * kRowTiles;
  static constexpr int kDepth = kAhead;    // tiles of weights in registers
  static constexpr int kStages = kCopied;  // tiles of tokens in shared memory
  static constexpr int kPerProcessor = kBlocksTogether;
  using Copies = TokenCopies<kTokens, 1, kThreads>;
  using Out = TileOut<kTokens, kRows, 1, kThreads>;
  static constexpr int64_t kSharedBytes =
      std::max<int64_t>(int64_t{kStages} * Copies::kStageBytes, Out::kSharedBytes);
  static_assert(kDepth >= 2 && kStages >= 3);
};

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kPerProcessor)
    wide_wgmma(const __grid_constant__ WideArgs args) {
  constexpr WeightFormat kFormat = Shape::kFormat;
  constexpr int kBlocks = Shape::kTokens / 8;
  constexpr int kSlots = Shape::kSlots;
  extern __shared__ __align__(1024) char shared[];
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  // What the experts are is known only from the kernel before; other weights never change.
  const bool experts = args.order != nullptr;
  if (experts) wait_for_previous();
  let_next_start();
  const Place place = locate<Shape::kTokens>(args);
  if (place.count <= 0) return;

  WeightRow row[kSlots];
  ScaledTile<kFormat> weights[Shape::kDepth][kSlots];
  const auto load_weights = [&](ScaledTile<kFormat>(&to)[kSlots], int stage) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) to[s].load(args, row[s], place.begin + stage, place.end, lane);
  };
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    row[s] = WeightRow::of<kFormat, Shape::kRowTiles>(args, place, s * Shape::kWarps + warp);
  }
#pragma unroll
  for (int d = 0; d < Shape::kDepth; ++d) load_weights(weights[d], d);
  if (!experts) wait_for_previous();
  const typename Shape::Copies copies(args, place);
  const auto copy_stage = [&](int stage) {
    copies.start(shared + stage % Shape::kStages * Shape::Copies::kStageBytes, place.begin + stage);
    commit_copies();
  };
  // Two less than there is room for: one is being multiplied, the one before it perhaps still is.
#pragma unroll
  for (int s = 0; s < Shape::kStages - 2; ++s) copy_stage(s);

  float sum[kSlots][kBlocks][4] = {};
  const auto zero = static_cast<uint32_t>(args.splits >> 16);  // which the compiler does not know
  // Operands of four steps, two of them in products under way; and the factors of their tile.
  Fragment a[4][kSlots];
  uint2 factor[kSlots] = {};
  const auto prepare = [&](Fragment& to, const ScaledTile<kFormat>& tile, int s, int j) {
    if constexpr (is_quantised(kFormat)) {
      to = scaled_in_order(tile.codes(j), factor[s]);
    } else {
      to = moved_in_order(tile.codes(j), zero);
    }
  };
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    factor[s] = weights[0][s].factors(0);
    prepare(a[0][s], weights[0][s], s, 0);
    prepare(a[1][s], weights[0][s], s, 1);
  }
  const uint64_t operand = swizzled_operand(shared_address(shared));
  const int stages = place.end - place.begin;
  // Beyond the end both operands are zeros.
  for (int first = 0; first < stages; first += Shape::kDepth) {
    for_each_constant<Shape::kDepth>([&](auto d) {
      const int stage = first + d;
      wait_for_copies<Shape::kStages - 3>();
      if (!args.x_aligned) publish_to_products();  // cp.async needs no more than the barrier
      __syncthreads();
      const uint64_t tile =
          operand + static_cast<uint32_t>(stage % Shape::kStages * Shape::Copies::kStageBytes >> 4);
      for_each_constant<4>([&](auto j) {
        begin_products();
#pragma unroll
        for (int s = 0; s < kSlots; ++s) wgmma<Shape::kTokens>(sum[s], a[j][s], tile + 2 * j);
        commit_products();
        if constexpr (j == 0) copy_stage(stage + Shape::kStages - 2);
        // The step two behind is done: its registers take the step two ahead.
        wait_for_products<2>();
        constexpr int kNext = (j + 2) % 4;
        constexpr int kFrom = j < 2 ? int{d} : (d + 1) % Shape::kDepth;
#pragma unroll
        for (int s = 0; s < kSlots; ++s) {
          const ScaledTile<kFormat>& tile_of_next = weights[kFrom][s];
          if constexpr (kNext == 0) factor[s] = tile_of_next.factors(0);
          prepare(a[kNext][s], tile_of_next, s, kNext);
        }
        if constexpr (j == 1) load_weights(weights[d], stage + Shape::kDepth);
      });
    });
  }
  wait_for_products<0>();
  wait_for_copies<0>();

  auto* out = reinterpret_cast<float*>(shared);
  using Out = typename Shape::Out;
  Out::run(args, place, out, [&](int from) {
    float* mine = out + lane % 4 * 2 * Out::kStride + warp * 16 + lane / 4;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      if (n * 8 < from || n * 8 >= from + Out::kChunk) continue;
#pragma unroll
      for (int s = 0; s < kSlots; ++s) {
        float* to = mine + (n * 8 - from) * Out::kStride + s * Shape::kWarps * 16;
        to[0] = sum[s][n][0];
        to[Out::kStride] = sum[s][n][1];
        to[8] = sum[s][n][2];
        to[Out::kStride + 8] = sum[s][n][3];
      }
    }
  });
}

template <typename Shape>
void launch_shape(const Stream& on, const WideArgs& args, int64_t items) {
  launch(on, wide_wgmma<Shape>, wide_grid(args, items), Shape::kThreads, Shape::kSharedBytes, args);
}

}  // namespace

template <WeightFormat kFormat>
void launch_wide_wgmma(const Stream& on,
                       const WideArgs& args,
                       const WideTile& tile,
                       int64_t items) {
  constexpr bool kSmall = is_quantised(kFormat);
  // Tiles ahead: 4 KiB of each row of tiles where registers allow.
  constexpr int kFew = static_cast<int>(4096 / tile_bytes(kFormat));
  if (tile.tokens == 64) {
    return launch_shape<WgmmaShape<kFormat, 64, 1, kFew, 6, 2>>(on, args, items);
  }
  constexpr int kTogether = kFormat == WeightFormat::kInt4 ? 2 : 1;
  if (tile.tokens == 128 && tile.rows == 128) {
    return launch_shape<WgmmaShape<kFormat, 128, 1, 2, 6, kTogether>>(on, args, items);
  }
  if constexpr (kSmall) {
    CHECK(tile.tokens == 128);
    launch_shape<WgmmaShape<kFormat, 128, 2, 2, 6, 1>>(on, args, items);
  } else {
    CHECK(tile.tokens == 256);
    launch_shape<WgmmaShape<kFormat, 256, 1, 2, 5, 1>>(on, args, items);
  }
}

}  // namespace switchyard::cuda
